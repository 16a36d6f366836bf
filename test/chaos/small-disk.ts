// Owns: a disk so small that it can be filled: a tmpfs for the data directory of one node.
import { execFile } from "node:child_process";
import { mkdtemp, rm, rmdir, statfs, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const DISK_MIB = 192;
const FILL_BYTES = 1 << 20;

export class SmallDisk {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** @throws Error where mounting is not permitted. */
  static async mount(): Promise<SmallDisk> {
    const directory = await mkdtemp(join(tmpdir(), "aether-disk-"));
    try {
      await run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "tmpfs", directory]);
    } catch (error) {
      await rmdir(directory);
      throw error;
    }
    return new SmallDisk(directory);
  }

  /** Leaves no byte free. */
  async fill(): Promise<void> {
    for (let at = 0; at < DISK_MIB; at++) {
      const { bavail, bsize } = await statfs(this.directory);
      if (bavail === 0) return;
      const filling = Buffer.alloc(Math.min(FILL_BYTES, bavail * bsize));
      await writeFile(this.filler(at), filling).catch(() => undefined); // ignored: the node took the room, it is full
    }
  }

  async clear(): Promise<void> {
    for (let at = 0; at < DISK_MIB; at++) {
      // Truncated first: a file that is only half written holds room too.
      await truncate(this.filler(at)).catch(() => undefined); // ignored: there were fewer files
      await rm(this.filler(at), { force: true });
    }
  }

  async unmount(): Promise<void> {
    await run("umount", ["--lazy", this.directory]);
    await rmdir(this.directory);
  }

  private filler(at: number): string {
    return join(this.directory, `filler-${at}`);
  }
}

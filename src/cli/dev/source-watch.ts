// Owns: noticing that something may have changed in some directories and below. Does not own: what; whoever hears of
// it looks at the content. Directories are watched and not files, so that an editor that replaces a file on each save,
// and a file that comes later, are noticed as well.
import { watch, type FSWatcher } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, sep } from "node:path";
import { AetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";

/** Each costs the system a watch; a project has some ten. */
export const DIRECTORIES_MAX = 1_000;
/** An editor writes several times for one save, and a version control system many files. */
const SETTLE_MS = 50;
const SETTLE_MS_MAX = 1_000;
const LEFT_OUT: readonly string[] = ["node_modules", "dist"];

export class SourceWatch {
  private readonly io: CliIo;
  private readonly root: string;
  private readonly watchers = new Map<string, FSWatcher>();
  /** When the first change came that nobody has taken note of. */
  private changedAtMs: number | undefined;
  private latestAtMs = 0;
  private wake: () => void = () => undefined;

  constructor(io: CliIo, root: string) {
    this.io = io;
    this.root = root;
  }

  get hasChanged(): boolean {
    return this.changedAtMs !== undefined;
  }

  /**
   * Watches everything below the root, and the directories of these files elsewhere. What changes from now on is
   * noticed: read afterwards, and nothing is missed.
   * @throws AetherError E_TOO_LARGE, E_UNAVAILABLE
   */
  async cover(files: Iterable<string>): Promise<void> {
    const wanted = new Set(await directoriesBelow(this.root));
    for (const file of files) {
      const directory = file.slice(0, file.lastIndexOf(sep));
      if (!directory.split(sep).some((part) => LEFT_OUT.includes(part))) wanted.add(directory);
    }
    if (wanted.size > DIRECTORIES_MAX) {
      const message = `${this.root} has ${wanted.size} directories to be watched, the limit is ${DIRECTORIES_MAX}`;
      throw new AetherError("E_TOO_LARGE", `${message}: name the directory of one project`);
    }
    for (const [directory, watcher] of this.watchers) {
      if (wanted.has(directory)) continue;
      watcher.close();
      this.watchers.delete(directory);
    }
    for (const directory of wanted) this.watchOne(directory);
  }

  /** Resolves with the time of the first change once no more come; rejects when the signal aborts. */
  async next(signal: AbortSignal): Promise<number> {
    while (this.changedAtMs === undefined) {
      await new Promise<void>((resolve, reject) => {
        if (signal.aborted) reject(signal.reason as Error);
        const abort = (): void => reject(signal.reason as Error);
        signal.addEventListener("abort", abort, { once: true });
        this.wake = () => {
          signal.removeEventListener("abort", abort);
          resolve();
        };
      });
    }
    const first = this.changedAtMs;
    while (this.latestAtMs + SETTLE_MS > this.io.nowMs() && first + SETTLE_MS_MAX > this.io.nowMs()) {
      await this.io.sleep(SETTLE_MS, signal);
    }
    this.changedAtMs = undefined;
    return first;
  }

  close(): void {
    for (const watcher of this.watchers.values()) watcher.close();
    this.watchers.clear();
  }

  private watchOne(directory: string): void {
    if (this.watchers.has(directory)) return;
    try {
      const watcher = watch(directory, (_event, name) => {
        if (name === null || isSource(name)) this.note();
      });
      // It has gone: its parent says so too.
      watcher.on("error", () => {
        watcher.close();
        this.watchers.delete(directory);
        this.note();
      });
      this.watchers.set(directory, watcher);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
      const reason = error instanceof Error ? error.message : String(error);
      throw new AetherError("E_UNAVAILABLE", `cannot watch ${directory}: ${reason}`, { cause: error });
    }
  }

  private note(): void {
    this.latestAtMs = this.io.nowMs();
    this.changedAtMs ??= this.latestAtMs;
    this.wake();
  }
}

/** Editors keep files of their own beside those that are edited. */
function isSource(name: string): boolean {
  return !name.startsWith(".") && !name.endsWith("~") && !LEFT_OUT.includes(name);
}

async function directoriesBelow(root: string): Promise<readonly string[]> {
  const found = [root];
  for (let at = 0; at < found.length && found.length <= DIRECTORIES_MAX; at++) {
    const directory = found[at] ?? root;
    // ignored: a directory that has gone has no directories
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      if (entry.isDirectory() && isSource(entry.name)) found.push(join(directory, entry.name));
    }
  }
  return found;
}

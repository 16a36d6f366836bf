// Owns: what a process knows of its machine, for who looks for the cause of trouble: the disk of its data, how long a
// write takes to be safe there, room, file descriptors. Does not own: what is good or bad of it (cli/doctor).
import { readFileSync } from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { Looked, MachineFacts } from "../api/services.ts";
import { toAetherError } from "../base/errors.ts";
import { KiB } from "../base/units.ts";
import { readDiskRoom } from "../metrics/process-meter-adapter.ts";

/** Enough for a median that one slow write does not move; a slow disk is asked for half a second at most. */
const SYNCS = 15;
const SYNCS_MS_MAX = 500;
const BLOCK = Buffer.alloc(4 * KiB);
const PROBE_FILE = ".doctor-probe";

/** Looks now. Never rejects: what cannot be looked at says why. */
export async function readMachineFacts(dataDir: string): Promise<MachineFacts> {
  const [sync, space, descriptors] = await Promise.all([
    looked(() => measureSync(dataDir)), looked(() => readDiskRoom(dataDir)), looked(readDescriptors),
  ]);
  return { nodeVersion: process.versions.node, sync, space, descriptors };
}

/** Of a node: one look at a time, whoever asks. */
export function createMachineLook(dataDir: string): () => Promise<MachineFacts> {
  let underWay: Promise<MachineFacts> | undefined;
  return () => (underWay ??= readMachineFacts(dataDir).finally(() => (underWay = undefined)));
}

async function looked<T>(look: () => Promise<T>): Promise<Looked<T>> {
  try {
    return { value: await look() };
  } catch (error) {
    return { couldNot: toAetherError(error).message };
  }
}

/** As the journal writes: in place, and synced each time. */
async function measureSync(dataDir: string): Promise<{ readonly medianMs: number; readonly maxMs: number }> {
  const path = join(dataDir, `${PROBE_FILE}-${process.pid}`);
  const file = await open(path, "w");
  try {
    await file.write(BLOCK, 0, BLOCK.length, 0);
    await file.sync();
    const times: number[] = [];
    const endMs = performance.now() + SYNCS_MS_MAX;
    while (times.length < SYNCS && (times.length === 0 || performance.now() < endMs)) {
      await file.write(BLOCK, 0, BLOCK.length, 0);
      const beginMs = performance.now();
      await file.datasync();
      times.push(performance.now() - beginMs);
    }
    times.sort((a, b) => a - b);
    return { medianMs: times[times.length >> 1] ?? 0, maxMs: times.at(-1) ?? 0 };
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

/** Only Linux says. */
async function readDescriptors(): Promise<{ readonly open: number; readonly limit: number }> {
  const open = await readdir("/proc/self/fd");
  return { open: open.length, limit: readLimit() };
}

/** How many file descriptors this process may have; undefined where the system does not say. */
export function descriptorLimit(): number | undefined {
  try {
    return readLimit();
  } catch {
    // ignored: only Linux says
    return undefined;
  }
}

function readLimit(): number {
  const [, soft = ""] = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  // None is as good as very many.
  return soft === "" ? Number.MAX_SAFE_INTEGER : Number(soft);
}

// Owns: the data directory of a first voter that has not started yet, made from the chunks of a state. Whatever fails
// or is interrupted leaves nothing behind.
import { readdir, rm } from "node:fs/promises";
import { RESTORED_TICKS } from "../cluster/schedules/restored-ticks.ts";
import { HELD_JOBS } from "../jobs/held-jobs.ts";
import { type Seed, type SeedRule, StateSeed } from "../kvstore/state-seed.ts";
import { createLevelStorePort } from "../storage/level-adapter.ts";

export interface PlantTarget {
  /** New, or without stores. */
  readonly dataDir: string;
  /** Name of the new cluster. */
  readonly cluster: string;
  readonly signal: AbortSignal;
  onProgress(rows: number, bytes: number): void;
}

export interface PlantSource {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Revisions to leave out before the next one. */
  readonly revisionGap: number;
  /** Throws when these are not the chunks that were wanted, by the digest over all of them. */
  check(digest: string | undefined): void;
}

/** What becomes of the rows of what was under way. */
export const RESTORE_RULES: readonly SeedRule[] = [...HELD_JOBS, ...RESTORED_TICKS];

/** @throws AetherError E_CONFLICT, E_DATA_CORRUPT, E_VERSION, E_DATA_LOCKED, E_DISK */
export async function plantState(source: PlantSource, target: PlantTarget): Promise<Seed> {
  const { dataDir, cluster } = target;
  const wasEmpty = (await filesOf(dataDir)).length === 0;
  const stores = createLevelStorePort(dataDir);
  const seed = await StateSeed.open(stores, cluster);
  try {
    return await plant(seed, source, target);
  } catch (error) {
    await stores.destroy("kv");
    if (wasEmpty) await rm(dataDir, { recursive: true, force: true });
    throw error;
  }
}

async function plant(
  seed: StateSeed,
  { chunks, check, revisionGap }: PlantSource,
  { signal, onProgress }: PlantTarget,
): Promise<Seed> {
  try {
    let bytes = 0;
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      await seed.take(chunk);
      bytes += chunk.length;
      onProgress(seed.rows, bytes);
    }
    check(seed.digest);
    return await seed.finish(revisionGap, RESTORE_RULES);
  } finally {
    await seed.close();
  }
}

async function filesOf(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch {
    // ignored: what is not there has no files
    return [];
  }
}

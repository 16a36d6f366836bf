// Owns: from the data directory of a stopped node, the data directory of the only first voter of a new cluster. The old
// directory stays as it is; whatever fails or is interrupted leaves nothing behind.
// Does not own: what one node can know (consensus), the copy (stopped-directory.ts), what people are shown (cli).
import { rm } from "node:fs/promises";
import { AetherError } from "../base/errors.ts";
import { ResourceStack } from "../base/resource-stack.ts";
import { type LastState, readIdentity, replayLastState } from "../consensus/last-state.ts";
import type { SnapshotReader } from "../consensus/state-machine.ts";
import { KvGenerations } from "../kvstore/kv-generations.ts";
import { KvState } from "../kvstore/kv-state.ts";
import type { Seed } from "../kvstore/state-seed.ts";
import { createRealClock } from "./env-clock-adapter.ts";
import { LogLevels } from "../base/log-levels.ts";
import { createJsonLog } from "./env-log-adapter.ts";
import { plantState, type PlantTarget } from "./plant-state.ts";
import { openDataDirectory } from "./real-env.ts";
import { copyStopped } from "./stopped-directory.ts";

/**
 * What was lost had revisions too, and clients may have seen them: none of them is given out again. More than a cluster
 * writes in hours.
 */
const REVISIONS_LEFT_OUT = 1_000_000_000;
/** Beside the new directory, while this goes on. */
const WORK_SUFFIX = ".recovering";

export interface RecoverParts extends PlantTarget {
  /** The data directory of a stopped node. It is only read. */
  readonly source: string;
  /** `look` finds out what would be, and writes nothing. */
  readonly mode: "look" | "write";
}

export interface Recovered extends LastState {
  readonly oldCluster: string;
  readonly node: string;
  /** Of the state that was found. */
  readonly revision: number;
  /** When the old node wrote to its journal for the last time. */
  readonly lastWriteMs: number;
  /** The new state; undefined after a look. */
  readonly seed: Seed | undefined;
}

/**
 * @throws AetherError E_NOT_FOUND, E_CONFLICT, E_INVALID, E_REMOVED, E_DATA_LOCKED, E_DATA_CORRUPT, E_VERSION, E_DISK
 */
export async function recoverCluster(parts: RecoverParts): Promise<Recovered> {
  const work = `${parts.dataDir}${WORK_SUFFIX}`;
  const { lastWriteMs } = await copyStopped(parts.source, work);
  const opened = new ResourceStack();
  try {
    parts.signal.throwIfAborted();
    return { ...(await recoverFrom(work, parts, opened)), lastWriteMs };
  } finally {
    await opened.close();
    await rm(work, { recursive: true, force: true });
  }
}

async function recoverFrom(
  work: string,
  parts: RecoverParts,
  opened: ResourceStack,
): Promise<Omit<Recovered, "lastWriteMs">> {
  const disk = openDataDirectory(work);
  const wal = opened.own(await disk.logs.open("journal"));
  const identity = await readIdentity(wal);
  if (identity.cluster === parts.cluster) {
    const message = `the new cluster needs another name than ${identity.cluster}: nodes of the two must never meet`;
    throw new AetherError("E_INVALID", message);
  }
  const generations = opened.own(await KvGenerations.open(disk.store));
  const failure: { error?: AetherError } = {};
  const state = KvState.open({
    generations,
    clock: createRealClock(),
    log: createJsonLog({ node: identity.node, levels: new LogLevels("silent") }),
    cluster: identity.cluster,
    onFatal: (error) => {
      failure.error = error;
    },
  });
  opened.own(state);
  const last = await replayLastState(wal, state, identity);
  await state.checkpoint();
  if (failure.error !== undefined) throw failure.error;
  const reader = await state.openSnapshot();
  if (reader === undefined) throw nothingFound(parts.source);
  opened.defer(() => reader.close());
  const { revision } = reader;
  const source = { chunks: chunksOf(reader), revisionGap: REVISIONS_LEFT_OUT, check: () => undefined };
  const seed = parts.mode === "write" ? await plantState(source, parts) : undefined;
  return { ...last, oldCluster: identity.cluster, node: identity.node, revision, seed };
}

async function* chunksOf(reader: SnapshotReader): AsyncGenerator<Uint8Array> {
  for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) yield chunk;
}

function nothingFound(source: string): AetherError {
  const message = `${source} has a state without a slot: start from the backup that it was restored from`;
  return new AetherError("E_CONFLICT", message, { outcome: "not-applied" });
}

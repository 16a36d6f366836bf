// Owns: taking over the journal of versions that kept it in LevelDB: its records are copied into files once, at the
// first start. Whatever cuts that short, the old journal or the complete new one is there.
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../base/assert.ts";
import type { AppendLog } from "../env/append-log.ts";
import type { StorePort } from "../env/store.ts";
import { syncDirectory } from "./directory-adapter.ts";
import { OrderedAppendLog } from "./ordered-append-log.ts";
import { openSegmentLog } from "./segment-log-adapter.ts";

/** The name of that store. */
const LEVEL_LOG = "wal";

/**
 * Makes the log `name` in `directory` out of the store "wal", when there is one.
 * @throws AetherError E_DATA_LOCKED, E_DATA_CORRUPT, E_DISK
 */
export async function takeOverLevelLog(directory: string, name: string, stores: StorePort): Promise<void> {
  const names = await stores.list();
  if (!names.includes(LEVEL_LOG)) return;
  if (!names.includes(name)) {
    const copy = join(directory, `${name}.copy`);
    await rm(copy, { recursive: true, force: true });
    await copyLog(stores, copy);
    await rename(copy, join(directory, name));
    await syncDirectory(directory);
  }
  await stores.destroy(LEVEL_LOG);
}

async function copyLog(stores: StorePort, directory: string): Promise<void> {
  const source = await OrderedAppendLog.open(await stores.open(LEVEL_LOG));
  try {
    assert(source.base === undefined, "versions with this journal never cut it");
    const target = await openSegmentLog(directory);
    try {
      for await (const { bytes } of source.records()) await append(target, bytes);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

function append(log: AppendLog, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    log.append(bytes, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

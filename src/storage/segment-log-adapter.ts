// Owns: the logs of a real node: each in a folder of its own, whose lock is that of the small LevelDB in it.
import { join } from "node:path";
import type { AppendLog, LogPort } from "../env/append-log.ts";
import { createLevelStorePort } from "./level-adapter.ts";
import { createLogFiles } from "./log-files-adapter.ts";
import { openLogIn } from "./segment-log.ts";

const BASE_STORE = "base";

/** Logs of one node: each is a folder of `directory`. */
export function createSegmentLogPort(directory: string): LogPort {
  return {
    open: (name) => openSegmentLog(join(directory, name)),
    destroy: (name) => createLevelStorePort(directory).destroy(name),
  };
}

/** @throws AetherError as `openLogIn` */
export function openSegmentLog(directory: string): Promise<AppendLog> {
  const openBase = () => createLevelStorePort(directory).open(BASE_STORE);
  return openLogIn({ files: createLogFiles(directory), openBase });
}

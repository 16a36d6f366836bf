import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLevelStorePort } from "../../../src/storage/level-adapter.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { createOrderedLogPort } from "../../../src/storage/ordered-append-log.ts";
import { createSegmentLogPort } from "../../../src/storage/segment-log-adapter.ts";
import { type LogUnderTest, testAppendLog } from "./append-log-suite.ts";

async function inDirectory(create: (directory: string) => LogUnderTest["port"]): Promise<LogUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), "aether-log-"));
  return { port: create(directory), cleanUp: () => rm(directory, { recursive: true, force: true }) };
}

testAppendLog("files", () => inDirectory(createSegmentLogPort));

testAppendLog("LevelDB", () => inDirectory((directory) => createOrderedLogPort(createLevelStorePort(directory))));

testAppendLog("memory", () => ({ port: createOrderedLogPort(createMemoryStorePort({ defer: setImmediate })) }));

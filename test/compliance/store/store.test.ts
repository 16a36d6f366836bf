import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLevelStorePort } from "../../../src/storage/level-adapter.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { testOrderedStore } from "./ordered-store-suite.ts";

testOrderedStore("LevelDB", async () => {
  const directory = await mkdtemp(join(tmpdir(), "aether-store-"));
  return { port: createLevelStorePort(directory), cleanUp: () => rm(directory, { recursive: true, force: true }) };
});

testOrderedStore("memory", () => ({ port: createMemoryStorePort({ defer: setImmediate }) }));

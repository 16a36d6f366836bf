// Program for a test: has a store in the folder given, whose tables lose their blocks while it is open, and reads it.
import { readdir, truncate } from "node:fs/promises";
import { join } from "node:path";
import { createLevelStorePort } from "../../src/storage/level-adapter.ts";

const ROWS = 64;
/** More than a few rows fill a block: those behind the first pages are gone. */
const VALUE = Buffer.alloc(4_096, 7);
const PAGE_BYTES = 4_096;

const [directory = ""] = process.argv.slice(2);
const stores = createLevelStorePort(directory);
const written = await stores.open("kv");
await new Promise<void>((resolve, reject) => {
  const ops = Array.from({ length: ROWS }, (_, at) => ({ kind: "put", key: keyOf(at), value: VALUE }) as const);
  written.write(ops, (failure) => (failure === undefined ? resolve() : reject(failure)));
});
await written.close();

// Opening it moves what is in its log into a table; reading a row maps that into memory.
const store = await stores.open("kv");
store.getSync(keyOf(0));
const folder = join(directory, "kv");
for (const file of await readdir(folder)) if (file.endsWith(".ldb")) await truncate(join(folder, file), PAGE_BYTES);
store.getSync(keyOf(ROWS - 1));

function keyOf(at: number): Uint8Array {
  return Buffer.from(`key/${String(at).padStart(4, "0")}`);
}

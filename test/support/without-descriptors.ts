// Program for a test: takes every file descriptor that is left, and says which errors a store in the folder given gives
// when it reads what is in files, and when it is opened.
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { toAetherError } from "../../src/base/errors.ts";
import type { OrderedStore } from "../../src/env/store.ts";
import { createLevelStorePort } from "../../src/storage/level-adapter.ts";

/** So few files that LevelDB merges none: what it has opened to merge it reads without another descriptor. */
const ROWS = 3;
/** Each row fills a file of its own. */
const VALUE_BYTES = 5 << 20;

const [directory = ""] = process.argv.slice(2);
const stores = createLevelStorePort(directory);
const written = await stores.open("kv");
for (let at = 0; at < ROWS; at++) await put(written, keyOf(at), randomBytes(VALUE_BYTES));
await written.close();

const store = await stores.open("kv");
const taken = takeDescriptors();
const read = await codeOf(() => {
  for (let at = 0; at < ROWS; at++) store.getSync(keyOf(at));
});
const open = await codeOf(() => stores.open("other"));
for (const descriptor of taken) closeSync(descriptor);
await store.close();
process.stdout.write(JSON.stringify({ read, open }));

function keyOf(at: number): Uint8Array {
  return Buffer.from(`key/${String(at).padStart(4, "0")}`);
}

function put(into: OrderedStore, key: Uint8Array, value: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    into.write([{ kind: "put", key, value }], (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

function takeDescriptors(): readonly number[] {
  const descriptors: number[] = [];
  for (;;) {
    try {
      descriptors.push(openSync("/dev/null", "r"));
    } catch {
      // ignored: there are none left, which was the aim
      return descriptors;
    }
  }
}

async function codeOf(act: () => unknown): Promise<string> {
  try {
    await act();
    return "none";
  } catch (error) {
    return toAetherError(error).code;
  }
}

import { expect, test } from "vitest";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { logRowKey, OrderedAppendLog } from "../../../src/storage/ordered-append-log.ts";

test("a log whose numbers cannot be counted any more is refused: nobody would get to its end", async () => {
  const stores = createMemoryStorePort({ defer: setImmediate });
  const store = await stores.open("past");
  await new Promise((resolve) => {
    store.write([{ kind: "put", key: logRowKey(2 ** 60), value: Uint8Array.of(1) }], resolve);
  });
  await expect(OrderedAppendLog.open(store)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
});

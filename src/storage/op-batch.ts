// Owns: a batch that only remembers its operations, for stores that take them as a list anyway.
import type { OrderedStore, StoreBatch, StoreOp } from "../env/store.ts";

export function createOpBatch(store: Pick<OrderedStore, "write">): StoreBatch {
  const ops: StoreOp[] = [];
  return {
    put: (key, value) => ops.push({ kind: "put", key, value }),
    delete: (key) => ops.push({ kind: "delete", key }),
    write: (done) => store.write(ops, done),
  };
}

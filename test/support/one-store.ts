// Owns: a place for stores that has one store, which a test holds in its hands.
import type { OrderedStore, StorePort } from "../../src/env/store.ts";

/** Every name opens the same store. */
export function portOf(store: OrderedStore): StorePort {
  return {
    open: () => Promise.resolve(store),
    list: () => Promise.resolve(["kv"]),
    destroy: () => Promise.resolve(),
  };
}

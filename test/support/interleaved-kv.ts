// Owns: a store in which somebody else acts just before the n-th call of whoever uses it: with n = 1, 2, … every order
// of two jobs is tried.
import type { CallOptions } from "../../src/env/env.ts";
import type { Txn } from "../../src/kvstore/core/schema.ts";
import type { KvGetOptions, Kv } from "../../src/kvstore/kv.ts";

export interface InterleavedKv {
  readonly kv: Kv;
  /** How many calls were made. */
  readonly calls: () => number;
}

export function interleavedKv(kv: Kv, before: number, act: () => Promise<unknown>): InterleavedKv {
  let calls = 0;
  async function step(): Promise<void> {
    if (++calls === before) await act();
  }
  return {
    calls: () => calls,
    kv: overlaid(kv, {
      get: async (key, options?: KvGetOptions) => {
        await step();
        return kv.get(key, options);
      },
      list: async (query, options) => {
        await step();
        return kv.list(query, options);
      },
      transact: async (txn, options) => {
        await step();
        return kv.transact(txn, options);
      },
    }),
  };
}

/** The same store, in which `before` is awaited before each transaction. */
export function heldKv(kv: Kv, before: (txn: Txn, options?: CallOptions) => Promise<unknown>): Kv {
  return overlaid(kv, {
    transact: async (txn, options) => {
      await before(txn, options);
      return kv.transact(txn, options);
    },
  });
}

function overlaid(kv: Kv, over: Partial<Pick<Kv, "get" | "list" | "transact">>): Kv {
  return {
    get: (key, options?: KvGetOptions) => kv.get(key, options),
    list: (query, options) => kv.list(query, options),
    transact: (txn, options) => kv.transact(txn, options),
    watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    ...over,
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return kv.oldestRevision;
    },
  };
}

/** Runs `attempt` with n = 1, 2, … until its job made fewer calls than n: then every moment was tried. */
export async function atEveryCall(attempt: (n: number) => Promise<{ readonly calls: number }>): Promise<number> {
  for (let n = 1; ; n++) {
    const { calls } = await attempt(n);
    if (calls < n) return n - 1;
  }
}

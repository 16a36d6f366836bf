// Owns: a leader's store that falls silent at a chosen use of it, so that a test can kill the leader at every one.
import { present } from "../../src/base/assert.ts";
import { LEADER_KEY } from "../../src/kvstore/core/key.ts";
import type { Txn } from "../../src/kvstore/core/schema.ts";
import type { Kv, KvCallOptions } from "../../src/kvstore/kv.ts";
import { ClusterWorld } from "./cluster-world.ts";

export type Fate = "lost" | "applied";

/** A world whose n1, in its first life, falls silent at the `at`-th use of its store as the leader, once armed. */
export async function openLastWords(at: number, fate: Fate): Promise<{
  readonly world: ClusterWorld;
  readonly last: LastWords;
}> {
  const words: LastWords[] = [];
  const world = await ClusterWorld.open(undefined, (name, kv) => {
    if (name !== "n1" || words.length > 0) return kv;
    const last = new LastWords(kv, at, fate);
    words.push(last);
    return last.kv;
  });
  return { world, last: present(words[0], "n1 has a store") };
}

/** A leader whose store, at its `at`-th use of it as the leader, does not answer any more. */
class LastWords {
  readonly kv: Kv;
  isArmed = false;
  isReached = false;
  private uses = 0;

  constructor(kv: Kv, at: number, fate: Fate) {
    const meet = <T>(options: KvCallOptions | undefined, use: () => Promise<T>): Promise<T> => {
      if (!this.isArmed || ++this.uses !== at) return use();
      this.isReached = true;
      if (fate === "applied") void use();
      return new Promise((_, reject) => {
        options?.signal?.addEventListener("abort", () => reject(new RangeError("the node was killed")));
      });
    };
    this.kv = {
      get: (key, options) => (key === LEADER_KEY ? meet(options, () => kv.get(key, options)) : kv.get(key, options)),
      list: (query, options) => kv.list(query, options),
      watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
      transact: (txn, options) => {
        const write = () => kv.transact(txn, options);
        return isCommand(txn) ? meet(options, write) : write();
      },
      get revision() {
        return kv.revision;
      },
      get oldestRevision() {
        return kv.oldestRevision;
      },
    };
  }
}

/** A write of the leader that is not about leading itself. */
function isCommand({ compare, then }: Txn): boolean {
  return compare.some(({ key }) => key === LEADER_KEY) && then.every(({ key }) => !key.startsWith("leader"));
}

// Owns: a simulated cluster with one slice under control: a load of real calls, rules, every scale that was written.
import { z } from "zod";
import type { RulesRow } from "../../src/control/core/control-rows.ts";
import { formatKey, parseKey } from "../../src/kvstore/core/key.ts";
import type { KvStore } from "../../src/kvstore/kv-store.ts";
import { defineContract, defineSlice, method } from "../../src/sdk/index.ts";
import { parseScaleRow, type ScaleRow } from "../../src/slices/core/scale-row.ts";
import { openTestCluster } from "../../src/testkit/create-test-cluster.ts";
import { inlineSlice } from "../../src/testkit/inline-slice.ts";
import { storeWith } from "../../src/testkit/node-seams.ts";
import type { TestCluster } from "../../src/testkit/test-cluster.ts";

export const ordersContract = defineContract("orders", {
  place: method({ input: z.object({ n: z.number() }), output: z.object({ n: z.number() }), effect: "read" }),
});

const orders = inlineSlice({
  artifact: "test:orders:1.0.0",
  create: () => defineSlice({ contract: ordersContract, methods: { place: (input) => input } }),
});

/** Up above ten calls per second and instance, down below four. */
const SOON = { slice: "orders", window: "5s", for: "2s", cooldown: "3s" };
export const ORDERS_RULES = JSON.stringify({
  bounds: { orders: { min: 1, max: 4, stepUp: 1, every: "3s", reverseAfter: "10s" } },
  rules: [
    { name: "up", when: "avg(calls_per_second) / instances > 10", do: { add: 1 }, ...SOON },
    { name: "down", when: "avg(calls_per_second) / instances < 4", do: { remove: 1 }, ...SOON },
  ],
});

const TICKS_PER_SECOND = 10;

export interface WrittenScale extends ScaleRow {
  readonly atMs: number;
  /** Of the process that wrote it. */
  readonly node: string;
}

export class ControlledCluster {
  readonly cluster: TestCluster;
  /** Every scale that was applied, as its writer saw it. */
  readonly scales: readonly WrittenScale[];
  /** Calls that failed. */
  readonly failed: unknown[] = [];
  private readonly stores: Map<string, KvStore>;
  calls = 0;
  private isEnded = false;

  private constructor(cluster: TestCluster, scales: readonly WrittenScale[], stores: Map<string, KvStore>) {
    this.cluster = cluster;
    this.scales = scales;
    this.stores = stores;
  }

  static async open({ seed = 1, instances = 1 } = {}): Promise<ControlledCluster> {
    const scales: WrittenScale[] = [];
    const stores = new Map<string, KvStore>();
    let nowMs = (): number => 0;
    const blueprint = { name: "shop", slices: { orders: { artifact: "test:orders:1.0.0", instances } } };
    const cluster = await openTestCluster({ nodes: 3, seed, time: "virtual", slices: [orders], blueprint }, {
      kv: (kv, process) => {
        const seen = storeWith(kv, async (txn, go) => {
          const result = await go(txn);
          for (const op of result.succeeded ? txn.then : []) {
            if (op.kind !== "put" || parseKey(op.key).kind !== "scale") continue;
            scales.push({ ...parseScaleRow(op.value), atMs: nowMs(), node: process.node });
          }
          return result;
        });
        stores.set(process.node, seen);
        return seen;
      },
    });
    nowMs = () => cluster.nowMs;
    return new ControlledCluster(cluster, scales, stores);
  }

  /** Through a node that runs. */
  async applyRules(text: string, via = "n2"): Promise<void> {
    const value: RulesRow = { text, by: "a test", atMs: 0 };
    await this.put(formatKey({ kind: "control-rules" }), value, via);
  }

  async put(key: ReturnType<typeof formatKey>, value: unknown, via = "n2"): Promise<void> {
    let isDone = false;
    const store = this.stores.get(via);
    void store?.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] }).then(() => (isDone = true));
    await this.cluster.until(() => isDone);
  }

  /** Lets so many seconds pass, with so many calls in each. */
  async pass(seconds: number, callsPerSecond: number): Promise<void> {
    const { place } = this.cluster.slice(ordersContract);
    for (let tick = 0; tick < seconds * TICKS_PER_SECOND; tick++) {
      const due = Math.floor(((tick + 1) * callsPerSecond) / TICKS_PER_SECOND);
      for (let n = Math.floor((tick * callsPerSecond) / TICKS_PER_SECOND); n < due; n++) {
        this.calls++;
        void place({ n }).catch((error: unknown) => this.isEnded || this.failed.push(error));
      }
      await this.cluster.advance(1_000 / TICKS_PER_SECOND);
    }
  }

  /** Seconds of load until so many instances serve. */
  async passUntilActive(count: number, callsPerSecond: number, secondsMax = 60): Promise<number> {
    for (let second = 1; second <= secondsMax; second++) {
      await this.pass(1, callsPerSecond);
      if ((await this.active()) === count) return second;
    }
    throw new RangeError(`${await this.active()} instances serve after ${secondsMax} s, not ${count}`);
  }

  async active(): Promise<number> {
    const found = await this.cluster.instances("orders");
    return found.filter(({ state }) => state === "ACTIVE").length;
  }

  async nodesOfInstances(): Promise<ReadonlySet<string>> {
    return new Set((await this.cluster.instances("orders")).map(({ node }) => node));
  }

  async close(): Promise<void> {
    this.isEnded = true;
    await this.cluster.close();
  }
}

// Two owners of one job at every moment of each other's, and stores that lose an answer at every transition.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Kv, KvWriteOptions } from "../../src/kvstore/kv.ts";
import type { Txn } from "../../src/kvstore/core/schema.ts";
import { AetherError } from "../../src/base/errors.ts";
import type { InboxEntry } from "../../src/jobs/core/flow/inbox-entry.ts";
import { decideAppend, decideClaim, decideFinish, decideRelease, decideWait } from "../../src/jobs/core/life/decide.ts";
import { decideInbox } from "../../src/jobs/core/life/decide-inbox.ts";
import { handBackTxn } from "../../src/jobs/core/life/hand-back.ts";
import { rowKey } from "../../src/jobs/core/life/job-keys.ts";
import type { JobView, Verdict } from "../../src/jobs/ports.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { atEveryCall, interleavedKv } from "../support/interleaved-kv.ts";
import {
  JOB, jobStore, life, putPin, REF, runningJob, startJob, stepDone, transitionOf, viewOf,
} from "../support/job-log.ts";
import { eventsOf } from "../support/job-rows.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const AT = { atMs: 3_000 };
const clock = createRealClock();
let local: LocalKv;

async function freshStore(): Promise<void> {
  await local?.close();
  local = await createLocalKv();
  await putPin(local.kv);
}

beforeEach(freshStore);
afterEach(() => local.close());

/** Each with the epoch in which it was appended. */
async function eventTypes(): Promise<readonly string[]> {
  return (await eventsOf(local.kv, JOB)).map(({ event, epoch }) => `${epoch} ${event.type}`);
}

/** What a node does with a job: claims it, does two steps, ends it. Undefined once it is not its own any more. */
async function runJob(kv: Kv, node: string): Promise<JobView | undefined> {
  const store = jobStore(clock, kv);
  const { view: loaded } = await store.load(REF);
  if (loaded.row.status !== "pending") return undefined;
  let view = await applied(store.commit(transitionOf(decideClaim(loaded, { life: life(node), ...AT }))));
  for (const step of ["a", "b"]) {
    if (view === undefined) return undefined;
    view = await applied(store.commit(transitionOf(decideAppend(view, { events: [stepDone(step, node)], ...AT }))));
  }
  if (view === undefined) return undefined;
  const end = { result: { kind: "completed", output: node } } as const;
  return applied(store.commit(transitionOf(decideFinish(view, { events: [], ...AT }, end))));
}

async function applied(committed: Promise<Verdict>): Promise<JobView | undefined> {
  const verdict = await committed;
  return verdict.kind === "applied" ? verdict.view : undefined;
}

/** As the nodes do it that take the owner for dead. */
async function handBack(): Promise<void> {
  const { view } = await jobStore(clock, local.kv).load(REF);
  const { owner } = view.row;
  if (view.row.status !== "running" || owner === undefined) return;
  const guard = { key: rowKey(REF), target: "exists", op: "=", value: true } as const;
  await local.kv.transact(handBackTxn(owner.node, [view], guard, 4_000));
}

describe("two owners", () => {
  test("one of them ends the job in one log, whenever it is taken from the first (JOB1, JOB2)", async () => {
    const moments = await atEveryCall(async (n) => {
      await freshStore();
      await startJob(local.kv);
      const { kv, calls } = interleavedKv(local.kv, n, async () => {
        await handBack();
        await runJob(local.kv, "b");
      });
      const first = await runJob(kv, "a");
      const { view } = await jobStore(clock, local.kv).load(REF);
      expect(view.row.status).toBe("completed");
      const types = await eventTypes();
      const epochs = types.map((type) => Number(type.split(" ")[0]));
      expect(epochs).toEqual([...epochs].sort((a, b) => a - b));
      expect(types.filter((type) => type.endsWith("job.completed"))).toHaveLength(1);
      const last = types.at(-1)?.split(" ")[0];
      const isFirst = view.row.epoch === Number(last) && first !== undefined;
      expect(isFirst).toBe(first?.row.status === "completed");
      return { calls: calls() };
    });
    expect(moments).toBeGreaterThan(5);
  });
});

/** A store that answers nothing to the `at`-th write, which is lost or applied. */
function silentKv(kv: Kv, at: number, fate: "lost" | "applied"): Kv {
  let writes = 0;
  return {
    get: (key, options) => kv.get(key, options),
    list: (query, options) => kv.list(query, options),
    watch: (prefix, handlers, options) => kv.watch(prefix, handlers, options),
    transact: async (txn: Txn, options?: KvWriteOptions) => {
      writes += 1;
      if (writes !== at) return kv.transact(txn, options);
      if (fate === "applied") await kv.transact(txn, options);
      throw new AetherError("E_TIMEOUT", "no answer");
    },
    get revision() {
      return kv.revision;
    },
    get oldestRevision() {
      return kv.oldestRevision;
    },
  };
}

describe("a transition whose answer is lost", () => {
  test.each(["lost", "applied"] as const)("is %s, and in the log once at every point of a job's life", async (fate) => {
    for (const at of [1, 2, 3, 4]) {
      await freshStore();
      await startJob(local.kv);
      const view = await runJob(silentKv(local.kv, at, fate), "a");
      expect(view?.row.status).toBe("completed");
      expect(await eventTypes()).toEqual([
        "0 job.created", "1 job.claimed", "1 step.completed", "1 step.completed", "1 job.completed",
      ]);
    }
  });

  test("is not this owner's any more when the job was taken before the answer", async () => {
    const view = await runningJob(clock, local.kv);
    const slow = silentKv(local.kv, 1, "applied");
    const taking: Kv = {
      ...slow,
      transact: async (txn, options) => {
        try {
          return await slow.transact(txn, options);
        } catch (error) {
          await handBack();
          throw error;
        }
      },
    };
    const append = transitionOf(decideAppend(view, { events: [stepDone("a")], ...AT }));
    expect(await jobStore(clock, taking).commit(append)).toEqual({ kind: "fenced" });
    expect(await eventTypes()).toContain("1 step.completed");
  });
});

describe("what an owner is told", () => {
  const signal: InboxEntry = { kind: "signal", signal: "go", payload: 1, principal: "anonymous" };

  test("a job does not wait for what came meanwhile (JOB9)", async () => {
    const view = await runningJob(clock, local.kv);
    const entry = decideInbox({ ...view, folded: 0 }, [{ entry: signal }], 1);
    if (entry.kind === "refused") throw new RangeError(entry.reason);
    await local.kv.transact(entry.txn);
    const store = jobStore(clock, local.kv);
    const wait = { reason: "signal", on: ["signal:go"] } as const;
    const late = await store.commit(transitionOf(decideWait(view, { events: [], ...AT }, wait)));
    expect(late).toEqual({ kind: "inbox-not-empty" });
    // A signal does not stop an owner that is busy.
    const busy = viewOf(await store.commit(transitionOf(decideAppend(view, { events: [stepDone("a")], ...AT }))));
    const { view: read } = await store.load(REF);
    expect(Buffer.from(read.head.link).equals(busy.head.link)).toBe(true);
    expect(read).toEqual({ ...busy, inbox: read.inbox, head: { ...busy.head, link: read.head.link } });
    expect(read.inbox.last).toBe(1);
    viewOf(await store.commit(transitionOf(decideWait(read, { events: [], ...AT }, wait))));
  });

  test("an entry wakes a job that waits for it, and any node claims it", async () => {
    const store = jobStore(clock, local.kv);
    const wait = { reason: "signal", on: ["signal:go"] } as const;
    const running = await runningJob(clock, local.kv);
    const view = viewOf(await store.commit(transitionOf(decideWait(running, { events: [], ...AT }, wait))));
    const entry = decideInbox({ ...view, folded: 0 }, [{ entry: signal }], 1);
    if (entry.kind === "refused") throw new RangeError(entry.reason);
    expect((await local.kv.transact(entry.txn)).succeeded).toBe(true);
    expect((await runJob(local.kv, "b"))?.row.status).toBe("completed");
  });

  test("a damaged head stops the owner", async () => {
    const view = await runningJob(clock, local.kv);
    const key = transitionOf(decideAppend(view, { events: [], ...AT })).txn.then[0]?.key;
    if (key === undefined) throw new RangeError("an append changes the head");
    const { entry } = await local.kv.get(key);
    await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: entry?.value }], else: [] });
    const append = transitionOf(decideAppend(view, { events: [stepDone("a")], ...AT }));
    expect(await jobStore(clock, local.kv).commit(append)).toEqual({ kind: "corrupt" });
  });

  test("a job that is released goes on elsewhere", async () => {
    const view = await runningJob(clock, local.kv);
    const release = transitionOf(decideRelease(view, { events: [stepDone("first")], ...AT }));
    viewOf(await jobStore(clock, local.kv).commit(release));
    expect((await runJob(local.kv, "b"))?.row).toMatchObject({ status: "completed", epoch: 2 });
  });
});

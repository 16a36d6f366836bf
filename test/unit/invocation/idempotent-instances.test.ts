import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { IncomingReply } from "../../../src/slices/host/running-instances.ts";
import { KeyedWorld } from "../../support/keyed-world.ts";

let world: KeyedWorld;

beforeEach(async () => {
  world = await KeyedWorld.open();
});

afterEach(async () => {
  await world.close();
  expect(world.fatal).toEqual([]);
});

const RUN_1 = { kind: "ok", output: { run: 1 } } as const;

describe("calls with one idempotency key", () => {
  test("one runs, and all get its answer, on whatever node they come in (K1, K2)", async () => {
    const [n1, n2] = [world.start("n1"), world.start("n2")];
    const calls = [n1, n2, n1, n2].map((node) => node.place());
    const replies = await world.settled(Promise.all(calls));
    for (const reply of replies) expect(reply).toMatchObject(RUN_1);
    expect(replies.filter((reply) => reply.kind === "ok" && reply.isReplayed === true)).toHaveLength(3);
    expect(await world.settled(n2.place())).toEqual({ ...RUN_1, isReplayed: true });
    expect(world.runs).toEqual(["k"]);
  });

  test("a replay needs no majority and no place in the instance", async () => {
    const n1 = world.start("n1");
    await world.settled(n1.place());
    world.local.group.setMode("no-quorum");
    expect(await world.settled(n1.place())).toEqual({ ...RUN_1, isReplayed: true });
    expect(await world.settled(n1.place({ idempotencyKey: "other" }))).toMatchObject({
      kind: "not-started", error: { code: "E_NO_QUORUM", outcome: "not-applied" },
    });
    expect(world.runs).toEqual(["k"]);
    world.local.group.setMode("deciding");
  });

  test("other keys are other calls, another input is a conflict", async () => {
    const n1 = world.start("n1");
    await world.settled(n1.place());
    expect(await world.settled(n1.place({ idempotencyKey: "k2" }))).toEqual({ kind: "ok", output: { run: 2 } });
    expect(await world.settled(n1.place({ input: { sku: "mug" } }))).toMatchObject({
      kind: "not-started", error: { code: "E_CONFLICT", outcome: "not-applied" },
    });
    expect(world.runs).toEqual(["k", "k2"]);
  });

  test("a caller whose time is over learns that it may have run; the answer is there for who asks again", async () => {
    const n1 = world.start("n1", async (call) => {
      await world.clock.sleep(2_000);
      return world.answer(call);
    });
    expect(await world.settled(n1.place({ timeoutMs: 100 }))).toMatchObject({
      kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" },
    });
    const second = n1.place({ timeoutMs: 100 });
    expect(await world.settled(second)).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT" } });
    expect(await world.settled(n1.place())).toEqual({ ...RUN_1, isReplayed: true });
  });

  test("a caller that leaves while it waits is answered at once", async () => {
    const n1 = world.start("n1", () => new Promise(() => undefined));
    void n1.place();
    await world.clock.advance(50);
    const caller = new AbortController();
    const waiting = n1.place({}, caller.signal);
    await world.clock.advance(50);
    caller.abort();
    expect(await world.settled(waiting, 10)).toMatchObject({ kind: "failed", error: { outcome: "unknown" } });
  });

  test("a failure of the handler is the answer for all of them", async () => {
    const error = { code: "E_HANDLER", message: "sold out", outcome: "unknown", details: { name: "Error" } } as const;
    const n1 = world.start("n1", () => Promise.resolve({ kind: "failed", error }));
    expect(await world.settled(n1.place())).toEqual({ kind: "failed", error });
    expect(await world.settled(n1.place())).toEqual({
      kind: "failed", error: { ...error, details: { name: "Error", isFinal: true } },
    });
  });

  test("a handler that dies with its worker has run for ever, and nobody knows how", async () => {
    const n1 = world.start("n1", () => new Promise(() => undefined));
    const first = n1.place();
    await world.clock.advance(50);
    n1.crashWorker();
    expect(await world.settled(first)).toMatchObject({ error: { code: "E_TIMEOUT", outcome: "unknown" } });
    expect(await world.settled(n1.place())).toMatchObject({
      kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown", details: { isFinal: true } },
    });
  });

  test("an answer that is too large to be kept is given once", async () => {
    const output = "x".repeat(300_000);
    const n1 = world.start("n1", () => Promise.resolve({ kind: "ok", output }));
    expect(await world.settled(n1.place())).toEqual({ kind: "ok", output });
    const second = await world.settled(n1.place());
    expect(second).toMatchObject({ kind: "failed", error: { code: "E_TOO_LARGE" } });
    expect(second).not.toHaveProperty("error.outcome");
  });

  test("what the instance refuses leaves the key open", async () => {
    let answer: IncomingReply = { kind: "not-started", error: { code: "E_INVALID", message: "no such sku" } };
    const n1 = world.start("n1", () => Promise.resolve(answer));
    expect(await world.settled(n1.place())).toMatchObject({ kind: "not-started", error: { code: "E_INVALID" } });
    answer = { kind: "ok", output: 1 };
    expect(await world.settled(n1.place({ input: { sku: "mug" } }))).toEqual({ kind: "ok", output: 1 });
  });

  test("an instance that takes no calls claims nothing", async () => {
    const n1 = world.start("n1");
    n1.stopTaking();
    expect(await world.settled(n1.place())).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
    expect(await world.record()).toBeUndefined();
  });

  test("a caller without time starts nothing", async () => {
    const n1 = world.start("n1");
    expect(await world.settled(n1.place({ timeoutMs: 0 }))).toMatchObject({
      kind: "not-started", error: { code: "E_TIMEOUT", outcome: "not-applied" },
    });
    expect(world.runs).toEqual([]);
  });
});

describe("calls that take a key for lost once the node that has it is suspected", () => {
  test("they wait for two seconds of it; those that want certainty go on waiting (K3)", async () => {
    const [n1, n2] = [world.start("n1", () => new Promise(() => undefined)), world.start("n2")];
    void n1.place();
    await world.clock.advance(50);
    const patient = n2.place({ timeoutMs: 9_000 });
    const early = n2.place({ lostWhen: "suspected", timeoutMs: 9_000 });
    world.suspect(n1.life);
    let isEarlyOver = false;
    void early.then(() => (isEarlyOver = true));
    await world.clock.advance(1_900);
    expect(isEarlyOver).toBe(false);
    expect(await world.settled(early, 600)).toMatchObject({
      kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown", details: { isFinal: true } },
    });
    world.declareEnded(n1.life);
    expect(await world.settled(patient, 100)).toMatchObject({ kind: "failed", error: { details: { isFinal: true } } });
    expect(world.runs).toEqual([]);
  });

  test("what is idempotent runs again, and who was suspected for nothing learns that its answer does not count",
    async () => {
      const twice = await KeyedWorld.open("idempotent");
      const n1 = twice.start("n1", async (call) => {
        await twice.clock.sleep(4_000);
        return twice.answer(call);
      });
      const first = n1.place();
      await twice.clock.advance(50);
      twice.suspect(n1.life);
      await twice.clock.advance(2_000);
      const n2 = twice.start("n2");
      expect(await twice.settled(n2.place({ lostWhen: "suspected" }), 500)).toEqual(RUN_1);
      expect(await twice.settled(first)).toMatchObject({ kind: "failed", error: { outcome: "unknown" } });
      expect(await twice.settled(n1.place())).toEqual({ ...RUN_1, isReplayed: true });
      expect(twice.runs).toEqual(["k", "k"]);
      expect(twice.fatal).toEqual([]);
      await twice.close();
    });
});

describe("calls that keep no record", () => {
  test("a read just runs, and so does a call without key", async () => {
    const n1 = world.start("n1");
    await world.settled(n1.instances.invoke({ instance: "x/0", method: "place", input: 1, timeoutMs: 1_000 }));
    expect(n1.uses).toBe(0);
    const reading = await KeyedWorld.open("read");
    const reader = reading.start("n1");
    for (const run of [1, 2]) expect(await reading.settled(reader.place())).toEqual({ kind: "ok", output: { run } });
    expect(reader.uses).toBe(0);
    await reading.close();
  });
});

describe("a node that dies with a claim", () => {
  test("a write that it had begun is in doubt for ever, as soon as its end is certain (K3)", async () => {
    const [n1, n2] = [world.start("n1", () => new Promise(() => undefined)), world.start("n2")];
    void n1.place();
    await world.clock.advance(50);
    n1.kill();
    const second = n2.place();
    await world.clock.advance(5_000);
    world.declareEnded(n1.life);
    expect(await world.settled(second, 10)).toMatchObject({
      kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown", details: { isFinal: true } },
    });
    expect(world.runs).toEqual([]);
  });

  test("what may happen twice is run by the next one", async () => {
    await world.close();
    world = await KeyedWorld.open("idempotent");
    const [n1, n2] = [world.start("n1", () => new Promise(() => undefined)), world.start("n2")];
    void n1.place();
    await world.clock.advance(50);
    n1.kill();
    world.declareEnded(n1.life);
    expect(await world.settled(n2.place())).toEqual(RUN_1);
    expect(await world.settled(n2.place())).toEqual({ ...RUN_1, isReplayed: true });
  });

  test("one that was only taken for dead does not answer with its own run", async () => {
    await world.close();
    world = await KeyedWorld.open("idempotent");
    const slow = world.start("n1", async () => {
      await world.clock.sleep(1_000);
      return { kind: "ok", output: "old" };
    });
    const first = slow.place();
    await world.clock.advance(50);
    world.declareEnded(slow.life);
    const n2 = world.start("n2");
    expect(await world.settled(n2.place())).toEqual(RUN_1);
    const superseded = { kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } };
    expect(await world.settled(first)).toMatchObject(superseded);
    expect(await world.settled(slow.place())).toEqual({ ...RUN_1, isReplayed: true });
  });
});

describe("a store that does not answer", () => {
  test("a claim of which nobody knows is given back, and starts nothing", async () => {
    const [n1, n2] = [world.start("n1"), world.start("n2")];
    n1.fateOf = (use) => (use === 3 ? "unanswered" : "done");
    expect(await world.settled(n1.place())).toMatchObject({
      kind: "not-started", error: { code: "E_TIMEOUT", outcome: "not-applied" },
    });
    expect(world.runs).toEqual([]);
    expect(await world.settled(n2.place())).toEqual(RUN_1);
  });

  test("an answer that it does not take at first is recorded later; the caller has it at his deadline", async () => {
    const n1 = world.start("n1", async (call) => {
      world.local.group.setMode("no-quorum");
      return world.answer(call);
    });
    const first = n1.place({ timeoutMs: 500 });
    expect(await world.settled(first)).toEqual(RUN_1);
    let isIdle = false;
    void n1.instances.whenIdle().then(() => (isIdle = true));
    await world.clock.advance(2_000);
    expect(isIdle).toBe(false);
    world.local.group.setMode("deciding");
    await world.clock.advance(6_000);
    expect(isIdle).toBe(true);
    expect(await world.settled(n1.place())).toEqual({ ...RUN_1, isReplayed: true });
  });

  test("a lease that has ended is replaced", async () => {
    const n1 = world.start("n1");
    await world.settled(n1.place());
    const { kv } = world.local;
    await world.settled(kv.revokeLease(1));
    expect(await world.record()).toBeUndefined();
    expect(await world.settled(n1.place({ idempotencyKey: "k2" }))).toEqual({ kind: "ok", output: { run: 2 } });
    expect(await world.record("k2")).toMatchObject({ value: { state: "done" }, lease: 2 });
  });
});

// Real worker threads: calls into an instance, their limits, and faults that must end one instance only.
import { describe, expect, test } from "vitest";
import type { CancelSignal } from "../../src/base/cancellation.ts";
import { parseArtifactId } from "../../src/base/ids.ts";
import { MiB } from "../../src/base/units.ts";
import type { CallReply, OutgoingCall } from "../../src/slices/host/outgoing-calls.ts";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import {
  bundleOf, NEVER, openFixture, runBundle, until, type Fixture,
} from "../unit/slices-runtime/runtime-fixture.ts";

const OTHER = parseArtifactId("demo:other:1.0.0");

function invoke(fixture: Fixture, instance: string, input: unknown, more: InvokeMore = {}): Promise<IncomingReply> {
  const { signal, ...call } = more;
  return fixture.store.invoke({ instance, method: "run", input, timeoutMs: 10_000, ...call }, signal);
}

interface InvokeMore {
  readonly method?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

describe("calls into an instance", () => {
  test("invalid input is refused before the handler starts, naming the place", async () => {
    await using fixture = await openFixture();
    const methods = "run: { input: z.object({ sku: z.string() }), output: z.number() }";
    const spec = await fixture.run(bundleOf("demo", methods, "methods: { run: () => 1 }"));
    expect(await invoke(fixture, spec.key, { sku: 1 })).toMatchObject({
      kind: "not-started",
      error: { code: "E_INVALID", outcome: "not-applied", details: { issues: [{ path: ["sku"] }] } },
    });
  });

  test("output that breaks the contract is the handler's failure", async () => {
    await using fixture = await openFixture();
    const methods = "run: { input: z.any(), output: z.number(), effect: 'write' }";
    const spec = await fixture.run(bundleOf("demo", methods, "methods: { run: (input) => input }"));
    expect(await invoke(fixture, spec.key, "no number")).toMatchObject({
      kind: "failed",
      error: { code: "E_HANDLER", outcome: "unknown", details: { name: "OutputInvalid" } },
    });
    expect(await invoke(fixture, spec.key, 7)).toEqual({ kind: "ok", output: 7 });
  });

  test("output travels in a form a caller can parse: no unknown fields, defaults filled, dates as text", async () => {
    await using fixture = await openFixture();
    const methods = `run: { input: z.any(), output: z.object({ a: z.number().default(5) }) },
      date: { input: z.void(), output: z.any() },
      nothing: { input: z.void(), output: z.void() },
      cents: { input: z.any(), output: z.string().transform(Number) }`;
    const handlers = `run: () => ({ secret: 1 }), date: () => ({ at: new Date(0) }),
      nothing: () => {}, cents: () => "12"`;
    const spec = await fixture.run(bundleOf("demo", methods, `methods: { ${handlers} }`));
    expect(await invoke(fixture, spec.key, {})).toEqual({ kind: "ok", output: { a: 5 } });
    expect(await invoke(fixture, spec.key, undefined, { method: "date" })).toEqual({
      kind: "ok", output: { at: "1970-01-01T00:00:00.000Z" },
    });
    expect(await invoke(fixture, spec.key, undefined, { method: "nothing" })).toEqual({
      kind: "ok", output: undefined,
    });
    expect(await invoke(fixture, spec.key, {}, { method: "cents" })).toEqual({ kind: "ok", output: "12" });
  });

  test("a handler that throws fails its call with name and message, and nothing else", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(
      runBundle("async (input) => { if (input) throw new RangeError('too far'); return 1; }"),
    );
    expect(await invoke(fixture, spec.key, true)).toMatchObject({
      kind: "failed",
      error: { code: "E_HANDLER", outcome: "unknown", details: { name: "RangeError", message: "too far" } },
    });
    expect(await invoke(fixture, spec.key, false)).toEqual({ kind: "ok", output: 1 });
  });

  test("an unknown method and an unknown instance are refused as not started", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(runBundle("async () => 1"));
    const wrongMethod = await invoke(fixture, spec.key, 1, { method: "walk" });
    expect(wrongMethod).toMatchObject({ kind: "not-started", error: { code: "E_NOT_FOUND" } });
    const wrongInstance = await invoke(fixture, "demo:none:1.0.0/0", 1);
    expect(wrongInstance).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
  });

  test("at most `concurrency` handlers run, the next wait in order, beyond the queue it is overloaded", async () => {
    await using fixture = await openFixture({ config: { callsQueuedMax: 2 } });
    const handler = `async () => {
      most = Math.max(most, ++now);
      await new Promise((go) => setTimeout(go, 20));
      now -= 1;
      return most;
    }`;
    const spec = await fixture.run(runBundle(handler, "let now = 0; let most = 0;"), { concurrency: 2 });
    const replies = await Promise.all([1, 2, 3, 4, 5].map((input) => invoke(fixture, spec.key, input)));
    expect(replies.slice(0, 4)).toEqual([1, 2, 3, 4].map(() => ({ kind: "ok", output: 2 })));
    expect(replies[4]).toMatchObject({ kind: "not-started", error: { code: "E_OVERLOADED", outcome: "not-applied" } });
  });

  test("a deadline that passes in the handler is answered at once and aborts its signal (R2)", async () => {
    await using fixture = await openFixture();
    const handler = `async (input, ctx) => {
      if (input === "report") return reason;
      await new Promise((go) => ctx.signal.addEventListener("abort", go));
      reason = ctx.signal.reason.code;
      return ctx.remainingMs();
    }`;
    const spec = await fixture.run(runBundle(handler, "let reason;"), { concurrency: 1 });
    const reply = await invoke(fixture, spec.key, "wait", { timeoutMs: 30 });
    expect(reply).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    expect(await invoke(fixture, spec.key, "report")).toEqual({ kind: "ok", output: "E_TIMEOUT" });
    expect(fixture.store.inFlight(spec.key)).toBe(0);
  });

  test("a call that waits in the queue and is cancelled never starts (R1)", async () => {
    await using fixture = await openFixture();
    const handler = `async (input, ctx) => {
      seen.push(input);
      if (input === "first") await new Promise((go) => ctx.signal.addEventListener("abort", go));
      return seen;
    }`;
    const spec = await fixture.run(runBundle(handler, "const seen = [];"), { concurrency: 1 });
    const leaveFirst = new AbortController();
    const leaveSecond = new AbortController();
    const first = invoke(fixture, spec.key, "first", { signal: leaveFirst.signal });
    const second = invoke(fixture, spec.key, "second", { signal: leaveSecond.signal });
    leaveSecond.abort();
    expect(await second).toMatchObject({ kind: "not-started", error: { outcome: "not-applied" } });
    leaveFirst.abort();
    expect(await first).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    const third = await invoke(fixture, spec.key, "third");
    expect(third).toMatchObject({ kind: "ok", output: expect.not.arrayContaining(["second"]) });
  });

  test("deactivating lets running calls finish and refuses waiting and new ones as not started", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(
      runBundle("async (input) => { await new Promise((go) => setTimeout(go, 50)); return input; }"),
      { concurrency: 1 },
    );
    const running = invoke(fixture, spec.key, 1);
    const waiting = invoke(fixture, spec.key, 2);
    const stopping = fixture.store.deactivate(spec.key, NEVER);
    const late = invoke(fixture, spec.key, 3);
    expect(await waiting).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
    expect(await late).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
    expect(await running).toEqual({ kind: "ok", output: 1 });
    await stopping;
  });

  test("a handler that does not finish is cancelled when draining has lasted long enough", async () => {
    await using fixture = await openFixture({ config: { drainMsMax: 30 } });
    const spec = await fixture.run(runBundle("() => new Promise(() => {})"));
    const running = invoke(fixture, spec.key, 1);
    await fixture.store.deactivate(spec.key, NEVER);
    expect(await running).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
  });
});

describe("an instance that is deactivated in less time than usual", () => {
  test("cancels its calls after that time, and stop() still has its own", async () => {
    await using fixture = await openFixture();
    const stop = "stop: async (ctx) => { await new Promise((go) => setTimeout(go, 100)); ctx.log.info('stopped'); }";
    const spec = await fixture.run(runBundle("() => new Promise(() => {})", "", stop));
    const running = invoke(fixture, spec.key, 1);
    await fixture.store.deactivate(spec.key, NEVER, { drainMsMax: 30 });
    expect(await running).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    await until(fixture.clock, () => fixture.lines.some(({ text }) => text === "stopped"));
    expect(fixture.store.hosted().get(spec.key)).toBe("loaded");
  });
});

describe("calls out of an instance", () => {
  const pricing = "{ name: 'pricing', methods: { quote: { input: z.object({ sku: z.string() }), " +
    "output: z.object({ cents: z.number() }), effect: 'read', timeoutMs: 3000 } } }";
  const uses = { prices: { slice: "pricing", artifact: parseArtifactId("demo:pricing:1.2.0") } };
  const caller = (handler: string): string => runBundle(handler, "", `uses: { prices: ${pricing} }`);

  test("methods may be taken out of ctx.uses, and each call has the deadline of its own handler", async () => {
    const times: number[] = [];
    const answer: CallReply = { kind: "ok", output: { cents: 5 }, attempts: 1 };
    await using fixture = await openFixture({
      calls: { call: ({ timeoutMs = 0 }) => (times.push(timeoutMs), Promise.resolve(answer)) },
    });
    const handler = `async (_, ctx) => {
      const { prices: { quote, constructor: other }, stock } = ctx.uses;
      return [await quote({ sku: 'a' }), await other({ sku: 'b' }), stock === undefined];
    }`;
    const both = pricing.replace("quote:", "constructor: { input: z.any(), output: z.any() }, quote:");
    const spec = await fixture.run(runBundle(handler, "", `uses: { prices: ${both} }`), { uses });
    const said = [{ cents: 5 }, { cents: 5 }, true];
    const [long, short] = await Promise.all([9_000, 1_000].map((timeoutMs) =>
      invoke(fixture, spec.key, 1, { timeoutMs })));
    expect([long, short]).toEqual([{ kind: "ok", output: said }, { kind: "ok", output: said }]);
    const [first = 0, second = 0] = times;
    expect([first > 1_000 && first <= 9_000, second <= 1_000]).toEqual([true, true]);
  });

  test("a client call carries slice, artifact and remaining time, and answers the parsed output", async () => {
    const calls: OutgoingCall[] = [];
    const answer: CallReply = { kind: "ok", output: { cents: 5, extra: 1 }, attempts: 1 };
    await using fixture = await openFixture({
      calls: { call: (call) => (calls.push(call), Promise.resolve(answer)) },
    });
    const handler = "(input, ctx) => ctx.uses.prices.quote({ sku: 'a' }, { timeoutMs: input })";
    const spec = await fixture.run(caller(handler), { uses });
    expect(await invoke(fixture, spec.key, 60_000, { timeoutMs: 1_000 })).toEqual({ kind: "ok", output: { cents: 5 } });
    await invoke(fixture, spec.key, 10, { timeoutMs: 1_000 });
    await invoke(fixture, spec.key, undefined, { timeoutMs: 60_000 });
    expect(calls[0]).toMatchObject({
      slice: "pricing", method: "quote", input: { sku: "a" }, artifact: "demo:pricing:1.2.0",
    });
    expect(calls[0]?.timeoutMs).toBeLessThanOrEqual(1_000);
    expect(calls[1]?.timeoutMs).toBe(10);
    expect(calls[2]?.timeoutMs).toBe(3_000);
  });

  test("invalid input does not leave the caller, and a failed call keeps its code", async () => {
    const error = { code: "E_UNAVAILABLE", message: "nobody there", outcome: "not-applied" } as const;
    let calls = 0;
    await using fixture = await openFixture({
      calls: { call: () => ((calls += 1), Promise.resolve({ kind: "error", error, attempts: 4 })) },
    });
    const handler = `async (input, ctx) => {
      try { return await ctx.uses.prices.quote(input); }
      catch (error) { if (error.code === "E_INVALID") return error.code; throw error; }
    }`;
    const spec = await fixture.run(caller(handler), { uses });
    expect(await invoke(fixture, spec.key, { sku: 1 })).toEqual({ kind: "ok", output: "E_INVALID" });
    expect(calls).toBe(0);
    expect(await invoke(fixture, spec.key, { sku: "a" })).toMatchObject({
      kind: "failed", error: { code: "E_HANDLER", details: { code: "E_UNAVAILABLE" } },
    });
  });

  test("an option of a client call that is not what it should be fails that call at once", async () => {
    let calls = 0;
    await using fixture = await openFixture({
      calls: { call: () => ((calls += 1), Promise.resolve({ kind: "ok", output: { cents: 1 }, attempts: 1 })) },
    });
    const handler = `async (input, ctx) => {
      try { return await ctx.uses.prices.quote({ sku: 'a' }, input); } catch (error) { return error.code; }
    }`;
    const spec = await fixture.run(caller(handler), { uses });
    expect(await invoke(fixture, spec.key, { idempotencyKey: 42 })).toEqual({ kind: "ok", output: "E_INVALID" });
    expect(await invoke(fixture, spec.key, { timeoutMs: "soon" })).toEqual({ kind: "ok", output: "E_INVALID" });
    expect(calls).toBe(0);
  });

  test("a handler may have many calls under way at once, and nobody warns of a leak", async () => {
    await using fixture = await openFixture({
      calls: { call: () => Promise.resolve({ kind: "ok", output: { cents: 1 }, attempts: 1 }) },
    });
    const handler = "(_, ctx) => Promise.all(Array.from({ length: 20 }, () => ctx.uses.prices.quote({ sku: 'a' })))";
    const spec = await fixture.run(caller(handler), { uses });
    expect(await invoke(fixture, spec.key, 1)).toMatchObject({ kind: "ok" });
    await fixture.store.unload(spec.key);
    expect(fixture.lines).toEqual([]);
  });

  test("cancelling a call cancels the calls made inside it, and so does the end of the worker", async () => {
    const signals: CancelSignal[] = [];
    await using fixture = await openFixture({
      calls: { call: (_, signal = NEVER) => (signals.push(signal), new Promise(() => undefined)) },
    });
    const spec = await fixture.run(caller("(input, ctx) => ctx.uses.prices.quote({ sku: 'a' })"), { uses });
    const leave = new AbortController();
    const left = invoke(fixture, spec.key, 1, { signal: leave.signal });
    await until(fixture.clock, () => signals.length === 1);
    leave.abort();
    await left;
    await until(fixture.clock, () => signals[0]?.aborted === true);
    const ended = invoke(fixture, spec.key, 1);
    await until(fixture.clock, () => signals.length === 2);
    await fixture.store.unload(spec.key);
    expect(signals[1]?.aborted).toBe(true);
    expect(await ended).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT" } });
  });
});

/** What the node has kept of what a slice said. */
function saidOf({ store }: Fixture, slice: string): readonly string[] {
  return (store.readLines(slice, { after: 0, linesMax: 1_000 })?.lines ?? []).map(({ text }) => text);
}

describe("faults of one instance", () => {
  const faults = [
    {
      name: "an unhandled rejection",
      handler: "() => { Promise.reject(new RangeError('boo')); return new Promise(() => {}); }",
      reason: /boo/,
    },
    {
      name: "an exception in a timer",
      handler: "() => { setTimeout(() => { throw new RangeError('boo'); }); return new Promise(() => {}); }",
      reason: /boo/,
    },
    { name: "process.exit", handler: "() => process.exit(7)", reason: /exit code 7/ },
    {
      name: "a heap that grows without end",
      handler: "() => { const all = []; for (;;) all.push(new Array(1e4).fill({})); }",
      reason: /heap/,
    },
  ];
  for (const { name, handler, reason } of faults) {
    test(`${name} ends that instance once, fails its calls as unknown, and leaves the others running`, async () => {
      await using fixture = await openFixture();
      const bad = await fixture.run(runBundle(handler), { concurrency: 1, heapBytesMax: 32 * MiB });
      const good = await fixture.run(runBundle("async (input) => input"), { artifact: OTHER });
      const running = invoke(fixture, bad.key, 1);
      const waiting = invoke(fixture, bad.key, 2);
      expect(await running).toMatchObject({
        kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown", message: expect.stringMatching(reason) },
      });
      expect(await waiting).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
      await until(fixture.clock, () => fixture.lost.length > 0);
      expect(fixture.lost).toEqual([[bad.key, expect.stringMatching(reason)]]);
      expect(saidOf(fixture, "demo").at(-1)).toMatch(reason);
      expect(fixture.store.hosted()).toEqual(new Map([[good.key, "active"]]));
      expect(fixture.liveWorkers()).toBe(1);
      expect(await invoke(fixture, good.key, 5)).toEqual({ kind: "ok", output: 5 });
    });
  }

  test("a handler that loops for ever misses its deadline, and unload ends it", async () => {
    await using fixture = await openFixture();
    const bad = await fixture.run(runBundle("() => { for (;;); }"));
    expect(await invoke(fixture, bad.key, 1, { timeoutMs: 30 })).toMatchObject({
      kind: "failed", error: { code: "E_TIMEOUT" },
    });
    await fixture.store.unload(bad.key);
    expect(fixture.liveWorkers()).toBe(0);
    expect(fixture.lost).toEqual([]);
  });

  test("a handler that loops for ever costs its instance, and only that", async () => {
    await using fixture = await openFixture({ config: { stallMsMax: 1_000 } });
    const bad = await fixture.run(runBundle("(input) => { for (; input;); return 1; }"));
    const good = await fixture.run(runBundle("async (input) => input"), { artifact: OTHER });
    const looping = invoke(fixture, bad.key, true);
    expect(await looping).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    await until(fixture.clock, () => fixture.lost.length > 0);
    expect(fixture.lost).toEqual([[bad.key, expect.stringContaining("event loop")]]);
    expect(fixture.store.hosted()).toEqual(new Map([[good.key, "active"]]));
    expect(await invoke(fixture, good.key, 5)).toEqual({ kind: "ok", output: 5 });
  });

  test("handlers that never end after their callers left cost their instance once no other call can run", async () => {
    await using fixture = await openFixture({ config: { stallMsMax: 1_000 } });
    const bad = await fixture.run(runBundle("() => new Promise(() => {})"), { concurrency: 2 });
    await Promise.all([1, 2].map(() => invoke(fixture, bad.key, 1, { timeoutMs: 20 })));
    await until(fixture.clock, () => fixture.lost.length > 0);
    expect(fixture.lost).toEqual([[bad.key, expect.stringContaining("never ended")]]);
    expect(fixture.liveWorkers()).toBe(0);
  });

  test("slow handlers whose callers wait, and an idle instance, are left alone", async () => {
    await using fixture = await openFixture({ config: { stallMsMax: 500 } });
    const handler = "async () => { await new Promise((resolve) => setTimeout(resolve, 1_200)); return 1; }";
    const slow = await fixture.run(runBundle(handler), { concurrency: 1 });
    expect(await invoke(fixture, slow.key, 1)).toEqual({ kind: "ok", output: 1 });
    await fixture.clock.sleep(1_200);
    expect(fixture.lost).toEqual([]);
  });

  test("a handler may throw anything at all", async () => {
    await using fixture = await openFixture();
    const things = `[Object.create(null), Symbol("s"), undefined, { toString() { throw 1; } },
      Object.defineProperty(new Error("x"), "message", { get() { throw 1; } }), 7n]`;
    const spec = await fixture.run(runBundle("(index) => { throw things[index]; }", `const things = ${things};`));
    for (const index of [0, 1, 2, 3, 4, 5]) {
      expect(await invoke(fixture, spec.key, index)).toMatchObject({ kind: "failed", error: { code: "E_HANDLER" } });
    }
    expect(fixture.lost).toEqual([]);
  });

  test("a call that comes while its worker is being ended is refused as not started (R1)", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(runBundle("async (input) => input"));
    const unloading = fixture.store.unload(spec.key);
    await Promise.resolve();
    const reply = invoke(fixture, spec.key, 1);
    await unloading;
    expect(await reply).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
  });

  test("messages that a slice posts on our port are counted in the log and do no harm", async () => {
    await using fixture = await openFixture();
    const handler = `() => {
      forge("hi");
      forge([{ kind: "reply" }, null]);
      return 1;
    }`;
    // Around the guard of the thread.
    const head = "import { MessagePort, parentPort } from 'node:worker_threads';" +
      "const forge = (value) => MessagePort.prototype.postMessage.call(parentPort, value);";
    const spec = await fixture.run(runBundle(handler, head));
    expect(await invoke(fixture, spec.key, 1)).toEqual({ kind: "ok", output: 1 });
    expect(fixture.lines.filter(({ text }) => String(text).includes("not of our protocol"))).toHaveLength(2);
  });

  test("a slice that floods its log loses lines, not replies", async () => {
    await using fixture = await openFixture({ config: { logLinesPerSecondMax: 10 } });
    const spec = await fixture.run(
      runBundle("(_, ctx) => { for (let i = 0; i < 1e5; i++) ctx.log.info('x'); return 1; }"),
    );
    expect(await invoke(fixture, spec.key, 1)).toEqual({ kind: "ok", output: 1 });
    expect(fixture.lines.filter(({ event }) => event === "slice.log").length).toBeLessThanOrEqual(20);
    expect(saidOf(fixture, "demo").length).toBeLessThanOrEqual(20);
  });
});

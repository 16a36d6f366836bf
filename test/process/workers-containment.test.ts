// Real worker threads whose slices do what they should not. Each costs at most its own instance: the neighbour answers,
// nothing is left behind, and the reason says what to look for.
import { describe, expect, test } from "vitest";
import { parseArtifactId } from "../../src/base/ids.ts";
import { MiB } from "../../src/base/units.ts";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import type { RuntimeConfig } from "../../src/slices/host/runtime-config.ts";
import {
  NEVER, openFixture, runBundle, until, type Fixture,
} from "../unit/slices-runtime/runtime-fixture.ts";

const NEIGHBOUR = parseArtifactId("demo:other:1.0.0");
const WORKER_THREADS = "import { MessagePort, parentPort } from 'node:worker_threads';";
/** Posts what our own runtime never would, around the guard of the thread. */
const FORGE = `${WORKER_THREADS}
const forge = (value) => MessagePort.prototype.postMessage.call(parentPort, value);`;

function invoke(fixture: Fixture, instance: string, input: unknown = 1): Promise<IncomingReply> {
  return fixture.store.invoke({ instance, method: "run", input, timeoutMs: 20_000 });
}

interface Fault {
  readonly name: string;
  readonly handler?: string;
  readonly head?: string;
  readonly rest?: string;
  readonly config?: Partial<RuntimeConfig>;
  readonly reason: RegExp;
}

const faults: readonly Fault[] = [
  {
    name: "loops without any call",
    rest: "start: () => void setTimeout(() => { for (;;); }, 5)",
    config: { stallMsMax: 1_000 },
    reason: /event loop stood still/,
  },
  {
    name: "never gives its event loop a turn",
    rest: "start: () => void setTimeout(() => { const again = () => Promise.resolve().then(again); again(); }, 5)",
    config: { stallMsMax: 1_000 },
    // What is noticed first: its promises are garbage that nobody collects in time.
    reason: /event loop stood still|memory of its node grew/,
  },
  {
    name: "keeps ever more buffers",
    head: "const kept = [];",
    rest: `start: () => void setInterval(() => kept.push(Buffer.alloc(${4 * MiB}, 1)), 10)`,
    reason: /MiB of buffers beside its heap, where 64 MiB/,
  },
  {
    name: "keeps ever more objects",
    head: "const kept = [];",
    rest: "start: () => void setInterval(() => { for (let i = 0; i < 1e4; i++) kept.push({ i }); }, 5)",
    reason: /MiB of heap, where 32 MiB are allowed/,
  },
  {
    name: "fills a map in a loop",
    handler: "() => { for (let all = new Map(), i = 0; ; i++) all.set(i, { i }); }",
    reason: /memory of its node grew|more heap/,
  },
  {
    name: "pushes onto an array in a loop",
    handler: "() => { for (let all = []; ; ) all.push(1); }",
    reason: /memory of its node grew|more heap/,
  },
  {
    name: "reads JSON that is larger than its heap",
    handler: "() => { kept = JSON.parse('[' + '1,'.repeat(2e7) + '1]'); return new Promise(() => {}); }",
    head: "let kept;",
    reason: /MiB of heap, where 32 MiB are allowed|memory of its node grew/,
  },
  {
    name: "fills buffers in a loop",
    handler: `() => {
      const kept = [];
      for (;;) {
        kept.push(Buffer.alloc(${16 * MiB}, 1));
        for (const until = performance.now() + 5; performance.now() < until;);
      }
    }`,
    reason: /memory of its node grew/,
  },
  {
    name: "prints in a loop",
    handler: "() => { for (;;) console.log('x'.repeat(100)); }",
    config: { stallMsMax: 1_000 },
    reason: /event loop stood still/,
  },
  {
    name: "logs in a loop",
    handler: "(_, ctx) => { for (;;) ctx.log.info('x'.repeat(100)); }",
    config: { stallMsMax: 1_000 },
    reason: /event loop stood still/,
  },
  {
    name: "posts on the port of its thread in a loop",
    head: WORKER_THREADS,
    handler: "() => { for (;;) parentPort.postMessage('x'.repeat(1000)); }",
    config: { stallMsMax: 1_000 },
    reason: /event loop stood still/,
  },
  {
    name: "sends more messages at once than a worker ever does",
    head: FORGE,
    handler: "() => { forge(new Array(100_000).fill(1)); return new Promise(() => {}); }",
    reason: /sent 100000 messages at once/,
  },
  {
    name: "throws in a timer what has no text",
    handler: "() => { setTimeout(() => { throw { toString: null }; }); return new Promise(() => {}); }",
    reason: /uncaught object: something that cannot be shown/,
  },
  {
    name: "throws in a timer an error whose parts have no text",
    handler: `() => {
      setTimeout(() => { throw Object.assign(new Error("x"), { message: { toString: null } }); });
      return new Promise(() => {});
    }`,
    reason: /uncaught Error: something that cannot be shown/,
  },
  {
    name: "calls itself without end in native callbacks",
    handler: "() => { const f = () => [1].map(f); setTimeout(f); return new Promise(() => {}); }",
    reason: /Maximum call stack/,
  },
];

describe("an instance that", () => {
  for (const { name, handler = "async () => 1", head = "", rest = "", config = {}, reason } of faults) {
    test(`${name} is ended once, and its neighbour goes on`, async () => {
      await using fixture = await openFixture({ config: { logLinesPerSecondMax: 50, ...config } });
      const good = await fixture.run(runBundle("async (input) => input"), { artifact: NEIGHBOUR });
      const bad = await fixture.run(runBundle(handler, head, rest), { heapBytesMax: 32 * MiB });
      const call = invoke(fixture, bad.key);
      await until(fixture.clock, () => fixture.lost.length > 0);
      expect(fixture.lost).toEqual([[bad.key, expect.stringMatching(reason)]]);
      expect((await call).kind).toMatch(/^(ok|failed)$/);
      expect(await invoke(fixture, good.key, 5)).toEqual({ kind: "ok", output: 5 });
      expect(fixture.store.hosted()).toEqual(new Map([[good.key, "active"]]));
      expect(fixture.liveWorkers()).toBe(1);
      expect(fixture.lines.filter(({ event }) => event === "slice.log").length).toBeLessThanOrEqual(200);
    });
  }

  test("that fills buffers in `start` fails that step with the reason, and leaves no worker", async () => {
    await using fixture = await openFixture({ config: { hookMsMax: 20_000 } });
    const start = `start: () => { for (const kept = [];;) kept.push(Buffer.alloc(${8 * MiB}, 1)); }`;
    const spec = fixture.publish(runBundle("async () => 1", "", start));
    await fixture.store.load(spec, NEVER);
    await expect(fixture.store.activate(spec.key, NEVER)).rejects.toMatchObject({
      code: "E_HANDLER", message: expect.stringContaining("memory of its node grew"),
    });
    expect(fixture.liveWorkers()).toBe(0);
  });
});

describe("an instance goes on when it", () => {
  test("says with a warning that it holds more buffers than it should, for a moment", async () => {
    await using fixture = await openFixture();
    const handler = `async (input) => { kept = Buffer.alloc(input * ${MiB}, 1); return kept.length; }`;
    const spec = await fixture.run(runBundle(handler, "let kept;"), { heapBytesMax: 32 * MiB });
    await invoke(fixture, spec.key, 80);
    await until(fixture.clock, () => fixture.lines.some(({ event }) => event === "slice.memory"));
    await invoke(fixture, spec.key, 1);
    await fixture.clock.sleep(2_500);
    expect(fixture.lost).toEqual([]);
    expect(fixture.lines.filter(({ event }) => event === "slice.memory")).toMatchObject([
      { level: "warn", instance: spec.key, reason: expect.stringMatching(/64 MiB are allowed/) },
    ]);
  });

  test("answers with a cycle around its runtime: its caller learns that the output is none", async () => {
    await using fixture = await openFixture();
    const handler = `() => {
      const cycle = {}; cycle.self = cycle;
      forge([{ kind: "reply", id: 1, reply: { kind: "ok", output: cycle } }]);
      return new Promise(() => {});
    }`;
    const spec = await fixture.run(runBundle(`(input) => input ?? (${handler})()`, FORGE));
    expect(await invoke(fixture, spec.key, null)).toMatchObject({
      kind: "failed", error: { code: "E_HANDLER", outcome: "unknown", details: { name: "OutputInvalid" } },
    });
    expect(await invoke(fixture, spec.key, 7)).toEqual({ kind: "ok", output: 7 });
  });

  test("posts on the port of its thread: that goes nowhere, and its author is told once", async () => {
    await using fixture = await openFixture();
    const post = "parentPort.postMessage([{ kind: 'activated' }])";
    const handler = `() => { for (let i = 0; i < 1e5; i++) ${post}; return 1; }`;
    const spec = await fixture.run(runBundle(handler, WORKER_THREADS));
    expect(await invoke(fixture, spec.key)).toEqual({ kind: "ok", output: 1 });
    const told = fixture.lines.filter(({ text }) => String(text).includes("goes nowhere"));
    expect(told).toMatchObject([{ level: "warn", instance: spec.key }]);
  });

  test("wants to signal the process of its node: the call fails", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(runBundle("(pid) => process.kill(pid ?? process.pid, 'SIGKILL')"));
    for (const pid of [null, 0, -1]) {
      expect(await invoke(fixture, spec.key, pid)).toMatchObject({
        kind: "failed", error: { code: "E_HANDLER", message: expect.stringContaining("process of its node") },
      });
    }
  });

  test("prints more than it may: lines are left out in its own thread, and it says how many", async () => {
    await using fixture = await openFixture({ config: { logLinesPerSecondMax: 10 } });
    const handler = `async () => {
      for (let i = 0; i < 20_000; i++) console.log("line " + i);
      process.stderr.write("long ".repeat(1e6));
      await new Promise((go) => setTimeout(go, 1_100));
      console.log("later");
      return 1;
    }`;
    const spec = await fixture.run(runBundle(handler));
    expect(await invoke(fixture, spec.key)).toEqual({ kind: "ok", output: 1 });
    await until(fixture.clock, () => fixture.lines.some(({ text }) => text === "later"));
    expect(fixture.lines.length).toBeLessThanOrEqual(30);
    expect(fixture.lines.map(({ text }) => text)).toContainEqual(expect.stringMatching(/^19991 lines of output were left/));
  });

  test("calls others in a loop: beyond what it may have under way its calls fail in its own thread", async () => {
    const get = "{ input: z.any(), output: z.any(), effect: 'read', timeoutMs: 9000 }";
    let calls = 0;
    await using fixture = await openFixture({
      config: { outgoingCallsMax: 8 },
      calls: {
        call: async () => {
          calls += 1;
          await fixture.clock.sleep(50);
          return { kind: "ok", output: 1, attempts: 1 };
        },
      },
    });
    const handler = `async (_, ctx) => {
      const leave = new AbortController();
      const all = Array.from({ length: 5_000 }, () => ctx.uses.b.get({}, { signal: leave.signal }));
      setImmediate(() => leave.abort(new Error("left")));
      const ended = await Promise.allSettled(all);
      await new Promise((go) => setTimeout(go, 200));
      return [ended.filter(({ reason }) => reason?.code === "E_OVERLOADED").length, await ctx.uses.b.get({})];
    }`;
    const uses = { b: { slice: "b", artifact: NEIGHBOUR } };
    const rest = `uses: { b: { name: 'b', methods: { get: ${get} } } }`;
    const spec = await fixture.run(runBundle(handler, "", rest), { uses });
    expect(await invoke(fixture, spec.key)).toEqual({ kind: "ok", output: [4_992, 1] });
    expect(calls).toBeLessThanOrEqual(9);
  });
});

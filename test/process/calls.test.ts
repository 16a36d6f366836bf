// Slow. Calls between real nodes: what a caller learns of each failure, how it gets past an instance that is sick, and
// which version answers it.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import {
  applySlices, callOver, createLabelledFleet, pushSlice, untilServed, type HandmadeSlice,
} from "./support/call-slices.ts";

const TARGET: HandmadeSlice = {
  artifact: "demo:target:1.0.0",
  head: 'import { parentPort } from "node:worker_threads"; let cancelled = 0;',
  methods: {
    where: { effect: "read", handler: "() => process.pid" },
    /** Holds the thread of the instance in one process. */
    spin: {
      effect: "write",
      handler: "({ pid, ms }) => { for (const end = Date.now() + ms; process.pid === pid && Date.now() < end;); }",
    },
    fail: { effect: "write", handler: '() => { throw new RangeError("no luck"); }' },
    wait: { effect: "write", handler: "async ({ ms }) => { await sleep(ms); return 1; }" },
    exit: { effect: "write", handler: "() => process.exit(3)" },
    watch: {
      effect: "read",
      handler: "async (input, ctx) => { await sleep(30000, ctx.signal); if (ctx.signal.aborted) cancelled += 1; }",
    },
    cancelled: { effect: "read", handler: "() => cancelled" },
    brief: { effect: "write", handler: "() => sleep(10000)", timeoutMs: 300 },
    trace: { effect: "read", handler: "(input, ctx) => [ctx.traceparent]" },
    /** Answers all its calls by itself, with what nobody can send. */
    forge: {
      effect: "write",
      handler: `async () => {
        const cycle = {}; cycle.cycle = cycle;
        let deep = 1; for (let level = 0; level < 5000; level += 1) deep = [deep];
        for (let id = 0; id < 500; id += 1) {
          parentPort.postMessage([{ kind: "reply", id, reply: { kind: "ok", output: id % 2 === 0 ? cycle : deep } }]);
        }
        await sleep(200);
      }`,
    },
  },
};

const RELAY: HandmadeSlice = {
  artifact: "demo:relay:1.0.0",
  uses: {
    target: {
      slice: "target", artifact: "demo:target@^1.0.0",
      methods: { where: "read", fail: "write", wait: "write", watch: "read", trace: "read" },
    },
  },
  methods: {
    watch: { effect: "read", handler: "(input, ctx) => ctx.uses.target.watch(input, { timeoutMs: 20000 })" },
    where: { effect: "read", handler: "(input, ctx) => ctx.uses.target.where({})" },
    trace: {
      effect: "read",
      handler: "async (input, ctx) => [ctx.traceparent, ...(await ctx.uses.target.trace({}))]",
    },
    /** What a handler learns of a call that fails. */
    classes: {
      effect: "write",
      handler: `async (input, ctx) => {
        const told = async (call) => {
          try { return await call(); } catch (error) { return [error.code, error.details.class]; }
        };
        return {
          handler: await told(() => ctx.uses.target.fail({})),
          answer: await told(() => ctx.uses.target.wait({ ms: 2000 }, { timeoutMs: 200 })),
          unsent: await told(() => ctx.uses.target.wait(-1)),
        };
      }`,
    },
  },
};

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await createLabelledFleet({ config: { runtime: { callsQueuedMax: 1, stallMsMax: 60_000 } } });
  await pushSlice(fleet, TARGET);
  await pushSlice(fleet, RELAY);
});

afterAll(() => fleet.close());

/** `target` on n2, `relay` on n1; n3 runs nothing. */
async function applyPair(more: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await applySlices(fleet, {
    target: { artifact: "demo:target@^1.0.0", labels: { name: "n2" }, ...more },
    relay: { artifact: "demo:relay@^1.0.0", labels: { name: "n1" } },
  });
  await untilServed(fleet, "target/where");
  await untilServed(fleet, "relay/where");
}

describe("a caller on another node learns the class of a failure", () => {
  test("over HTTP", async () => {
    await applyPair({ concurrency: 1 });
    const call = (path: string, body?: unknown, deadlineMs?: number) => callOver(fleet, "n3", path, body, deadlineMs);
    const expected = (code: string, failureClass: string) => ({ error: { code, details: { class: failureClass } } });
    expect(await call("nothing/at-all")).toMatchObject(expected("E_NOT_FOUND", "not-sent"));
    expect(await call("target/nothing")).toMatchObject(expected("E_NOT_FOUND", "not-sent"));
    expect(await call("target/wait", -1)).toMatchObject(expected("E_INVALID", "not-started"));
    expect(await call("target/fail")).toMatchObject(expected("E_HANDLER", "handler"));
    const late = await call("target/wait", { ms: 1_000 }, 200);
    expect(late).toMatchObject({ ...expected("E_TIMEOUT", "no-answer"), error: { outcome: "unknown" } });
    await eventually("it has room again", async () => (await call("target/where")).status === 200 || undefined);
    // One runs, one waits in the queue: the third finds no room, four times.
    const [, , third] = await Promise.all([
      call("target/wait", { ms: 3_000 }), call("target/wait", { ms: 0 }),
      eventually("both are there", async () => {
        const answer = await call("target/wait", { ms: 0 }, 1_500);
        return answer.status === 200 ? undefined : answer;
      }),
    ]);
    expect(third).toMatchObject(expected("E_OVERLOADED", "overloaded"));
  });

  test("in the client, also when the worker dies under the call", async () => {
    await applyPair();
    const client = connect({ nodes: [fleet.api("n3")], discovery: "off" });
    onTestFinished(() => client.close());
    await expect(client.call({ slice: "target", method: "fail", input: {} }))
      .rejects.toMatchObject({ code: "E_HANDLER", details: { class: "handler", name: "RangeError" } });
    await expect(client.call({ slice: "nothing", method: "at-all" }))
      .rejects.toMatchObject({ code: "E_NOT_FOUND", details: { class: "not-sent" } });
    await expect(client.call({ slice: "target", method: "exit", input: {} }))
      .rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown", details: { class: "no-answer" } });
  });

  test("in a handler that calls another slice", async () => {
    await applyPair();
    expect(await callOver(fleet, "n3", "relay/classes")).toMatchObject({
      output: {
        handler: ["E_HANDLER", "handler"], answer: ["E_TIMEOUT", "no-answer"], unsent: ["E_INVALID", "not-sent"],
      },
    });
  });
});

test("a caller that leaves is heard by a handler two hops away, on another node", async () => {
  await applyPair();
  const client = connect({ nodes: [fleet.api("n3")], discovery: "off" });
  onTestFinished(() => client.close());
  const leave = new AbortController();
  const pending = client.call({ slice: "relay", method: "watch", input: {}, signal: leave.signal, timeoutMs: 20_000 });
  // ignored: looked at below, when it has been left
  pending.catch(() => undefined);
  await eventually("the call is under way there", () => callMetric("n1", "aether_calls_in_flight"));
  leave.abort();
  await expect(pending).rejects.toBeDefined();
  await eventually("the handler has heard it", async () =>
    (await callOver(fleet, "n3", "target/cancelled")).output === 1 || undefined);
});

test("without a deadline of the caller's own a call has that of its method", async () => {
  await applyPair();
  expect(await callOver(fleet, "n3", "target/brief", {}, "none")).toMatchObject({
    error: { code: "E_TIMEOUT", details: { class: "no-answer" } },
  });
});

test("every handler on the way has a hop of its own in the caller's trace", async () => {
  await applyPair();
  const [traceId, spanId] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
  const headers = { traceparent: `00-${traceId}-${spanId}-01` };
  const { body } = await ask(`${fleet.api("n3")}/v1/call/relay/trace`, { method: "POST", body: {}, headers });
  const hops = z.array(z.string()).parse(body).map((text) => text.split("-"));
  expect(hops.map(([version, trace, , flags]) => [version, trace, flags])).toEqual([
    ["00", traceId, "01"], ["00", traceId, "01"],
  ]);
  expect(new Set([spanId, ...hops.map((parts) => parts[2])]).size).toBe(3);
});

test("answers that nobody can send end no node and no connection", async () => {
  await applyPair();
  const state = () => fleet.names.map((name) => {
    const { isRunning, pid } = fleet.process(name);
    return { isRunning, pid, suspicions: fleet.process(name).logged("node.suspected").length };
  });
  const before = state();
  const forged = await callOver(fleet, "n3", "target/forge", {}, 2_000);
  if (forged.status !== 200) expect(["handler", "no-answer"]).toContain(forged.error.details?.["class"]);
  await untilServed(fleet, "target/where");
  expect(state()).toEqual(before);
});

describe("an instance that is sick", () => {
  const CALLERS = 32;
  /** Those under way when it falls sick, some probes, and what a slow machine adds. */
  const FAILURES_MAX = 4 * CALLERS;

  test("fails a few calls, then none, and gets calls again when it is well", async () => {
    const [sick, well, caller] = ["n1", "n2", "n3"] as const;
    await applySlices(fleet, { target: { artifact: "demo:target@^1.0.0", instances: 2, labels: { side: "host" } } });
    for (const name of [sick, well]) {
      await eventually(`${name} answers by itself`, async () =>
        (await callOver(fleet, name, "target/where")).output === fleet.process(name).pid || undefined);
    }
    const { pid } = fleet.process(sick);
    const callers = new Callers(fleet, caller, CALLERS);
    const moreCalls = (count: number) => {
      const before = callers.answered;
      return eventually(`${count} more calls`, () => callers.answered > before + count || undefined);
    };
    await moreCalls(500);
    await eventually("it is sick", async () =>
      (await callOver(fleet, caller, "target/spin", { pid, ms: 8_000 }, 500)).error.details?.["class"] === "no-answer"
        || undefined);
    await eventually("the breaker opens", () => fleet.process(caller).logged("call.breaker-opened")[0]);
    await moreCalls(500);
    await eventually("the breaker closes", () => fleet.process(caller).logged("call.breaker-closed")[0]);
    await eventually("it answers again", async () =>
      (await callOver(fleet, caller, "target/where")).output === pid || undefined);
    await callers.stop();
    process.stdout.write(`a sick instance: ${callers.failed} of ${callers.answered + callers.failed} calls failed\n`);
    expect(callers.failed).toBeLessThanOrEqual(FAILURES_MAX);
    expect(await callMetric(caller, "aether_call_breakers_open")).toBeUndefined();
  });
});

describe("the version that answers", () => {
  const versioned = (version: string, methods: HandmadeSlice["methods"], rest = ""): HandmadeSlice =>
    ({ artifact: `demo:versioned:${version}`, methods, rest });
  const answers = (text: string) => ({ effect: "read", handler: `() => "${text}"` }) as const;

  test("is one in the range that the caller declared, never one outside of it", async () => {
    const ranged: HandmadeSlice = {
      artifact: "demo:ranged:1.0.0",
      uses: { versioned: { slice: "versioned", artifact: "demo:versioned@^1.0.0", methods: { same: "read" } } },
      methods: {
        ask: {
          effect: "read",
          handler: `async (input, ctx) => {
            try { return await ctx.uses.versioned.same({}, { timeoutMs: 1000 }); }
            catch (error) { return [error.code, error.details.class]; }
          }`,
        },
      },
    };
    /** What the caller has got, each once: while a version is replaced the old one may answer after the new one. */
    const seen = new Map<string, unknown>();
    const untilAnswered = (what: string, isIt: (output: unknown) => boolean): Promise<true> =>
      eventually(what, async () => {
        const { output } = await callOver(fleet, "n2", "ranged/ask");
        seen.set(JSON.stringify(output), output);
        return isIt(output) || undefined;
      });
    for (const version of ["1.0.1", "1.2.0", "2.0.1"]) {
      await pushSlice(fleet, versioned(version, { same: answers(version) }));
    }
    await pushSlice(fleet, ranged);
    await applySlices(fleet, { versioned: { artifact: "demo:versioned:1.0.1" } }, "versions");
    await applySlices(fleet, { ranged: { artifact: "demo:ranged:1.0.0" } }, "ranged");
    await untilServed(fleet, "ranged/ask");
    await untilAnswered("the first version", (output) => output === "1.0.1");
    await applySlices(fleet, { versioned: { artifact: "demo:versioned:1.2.0" } }, "versions");
    await untilAnswered("another one in the range", (output) => output === "1.2.0");
    await applySlices(fleet, { versioned: { artifact: "demo:versioned:2.0.1" } }, "versions");
    await untilAnswered("none in the range", (output) => typeof output !== "string");
    expect([...seen.values()]).toEqual(["1.0.1", "1.2.0", ["E_UNAVAILABLE", "not-sent"]]);
  });

  test("a method that only the new version has is answered as soon as that is there, by every node", async () => {
    await pushSlice(fleet, versioned("1.0.0", { old: answers("old") }));
    await pushSlice(fleet, versioned("2.0.0", { young: answers("young") }, "start: () => sleep(2000),"));
    await applySlices(fleet, { versioned: { artifact: "demo:versioned:1.0.0" } }, "versions");
    await untilServed(fleet, "versioned/old");
    await applySlices(fleet, { versioned: { artifact: "demo:versioned:2.0.0" } }, "versions");
    // Whoever asks a node for it in time has it there: other nodes learn of a revision a moment after the answer.
    await Promise.all(fleet.names.map((name) => ask(`${fleet.api(name)}/v1/blueprints/versions`)));
    const young = await Promise.all(fleet.names.map((name) => callOver(fleet, name, "versioned/young", {}, 10_000)));
    expect(young.map(({ output }) => output)).toEqual(["young", "young", "young"]);
    expect((await callOver(fleet, "n3", "versioned/nothing")).error).toMatchObject({
      code: "E_NOT_FOUND", details: { methods: ["young"] },
    });
  });
});

/** The value of a metric, undefined when it is 0 or not there. */
async function callMetric(node: string, name: string): Promise<number | undefined> {
  const text = await (await fetch(`${fleet.api(node)}/metrics`)).text();
  const value = Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? 0);
  return value === 0 ? undefined : value;
}

/** Reads through one node, one after the other per caller, until they are stopped. */
class Callers {
  answered = 0;
  failed = 0;
  private isStopping = false;
  private readonly client: ReturnType<typeof connect>;
  private readonly running: readonly Promise<void>[];

  constructor(where: NodeFleet, node: string, callers: number) {
    this.client = connect({ nodes: [where.api(node)], discovery: "off" });
    this.running = Array.from({ length: callers }, () => this.run());
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.running);
    this.client.close();
  }

  private async run(): Promise<void> {
    while (!this.isStopping) {
      try {
        await this.client.call({ slice: "target", method: "where", input: {}, effect: "read", timeoutMs: 1_000 });
        this.answered += 1;
      } catch {
        this.failed += 1;
      }
    }
  }
}

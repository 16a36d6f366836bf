// What a handler has beside calls, in real worker threads over a real store of one process.
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { parseKeyText, prefixOf } from "../../src/kvstore/core/key.ts";
import { parseJobId, parseNodeId } from "../../src/base/ids.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { createJobsMetrics } from "../../src/jobs/metrics.ts";
import { StartJobs } from "../../src/jobs/doors/start-jobs.ts";
import { openAgentsService } from "../../src/slices/services/agents-service.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { openKvService } from "../../src/slices/services/kv-service.ts";
import { LEASES_PER_INSTANCE_MAX, openLeaseService } from "../../src/slices/services/lease-service.ts";
import type { SliceServices } from "../../src/slices/services/slice-services.ts";
import type { IncomingReply } from "../../src/slices/host/running-instances.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { PIN, putPin } from "../support/job-log.ts";
import { inboxOf, rowOf } from "../support/job-rows.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { NEVER, openFixture, runBundle, until, type Fixture } from "../unit/slices-runtime/runtime-fixture.ts";

const startedSchema = z.object({ output: z.array(z.object({ id: z.string(), isNew: z.boolean() })) });

async function openStore(): Promise<{ readonly local: LocalKv; readonly services: SliceServices }> {
  const local = await createLocalKv();
  onTestFinished(() => local.close());
  const { kv } = local;
  const clock = createRealClock();
  const publisher = { parts: () => ({ compare: [], then: [] }), notePublished: () => undefined };
  const lease = openLeaseService({ kv, clock, node: parseNodeId("n1") });
  return { local, services: { kv: openKvService({ kv, clock, publisher }), lease } };
}

interface InvokeOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly idempotencyKey?: string;
}

function invoke(
  fixture: Fixture, instance: string, input: unknown, options: InvokeOptions = {},
): Promise<IncomingReply> {
  const { timeoutMs = 10_000, signal = NEVER, ...key } = options;
  return fixture.store.invoke({ instance, method: "run", input, timeoutMs, ...key }, signal);
}

/** The doors of jobs over a store, and nobody who runs them. */
async function openJobsDoors(): Promise<{ readonly local: LocalKv; readonly services: SliceServices }> {
  const { local, services } = await openStore();
  const { kv } = local;
  const clock = createRealClock();
  await putPin(kv);
  const starts = new StartJobs({ clock, random: new SeededRandom(7) }, {
    kv,
    pins: { resolve: async () => PIN, needsOf: async () => ({}), definitionOf: async () => undefined },
    payloads: payloadsIn(kv),
    queued: () => 0,
    metrics: createJobsMetrics(SILENT_TELEMETRY),
  }, { pendingMax: 100 });
  const inbox = new InboxWriter({ clock }, { kv, onFatal: (error) => expect.unreachable(String(error)) });
  onTestFinished(() => inbox.close());
  const drive = new JobsDrive({
    clock, kv, inbox, payloads: payloadsIn(kv), pins: { definitionOf: async () => undefined },
  });
  const caller = { principal: "slice demo", tenant: "default" };
  const agents = openAgentsService({
    start: (start, _slice, scope) => starts.start(start, caller, scope),
    signal: (job, signal, _slice, scope) => drive.signal(job, signal, caller, scope),
  });
  return { local, services: { ...services, agents } };
}

/** A handler that answers what fails as `[code, outcome]`. */
function telling(body: string): string {
  return `async (input, ctx) => {
    try { ${body} } catch (error) { return [error.code, error.outcome ?? 'none']; }
  }`;
}

describe("ctx.agents", () => {
  const CLAIMS = "const claims = { kind: 'aether-agent', name: 'claims', input: z.object({ order: z.string() }) };";
  const GO = "const go = { name: 'go', payload: z.object({ by: z.string() }) };";

  test("starts a job for each start in a call, and none more when the call is made again with its key", async () => {
    const { local, services } = await openJobsDoors();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const first = await ctx.agents.start(claims, { order: input });
      const second = await ctx.agents.start('claims', { order: input }, { priority: 5, attributes: { of: 'demo' } });
      await ctx.agents.signal(first.id, go, { by: 'ann' });
      return [first, second];
    `);
    const spec = await fixture.run(runBundle(handler, `${CLAIMS}${GO}`));
    const run = (key: string): Promise<IncomingReply> => invoke(fixture, spec.key, "o-1", { idempotencyKey: key });
    const [once, again, other] = [await run("k-1"), await run("k-1"), await run("k-2")];
    const ids = startedSchema.parse(once).output.map(({ id }) => id);
    expect(startedSchema.parse(once).output.map(({ isNew }) => isNew)).toEqual([true, true]);
    expect(startedSchema.parse(again).output).toEqual(ids.map((id) => ({ id, isNew: false })));
    expect(startedSchema.parse(other).output.map(({ isNew }) => isNew)).toEqual([true, true]);
    expect((await local.kv.list({ prefix: prefixOf({ kind: "jobs" }) })).entries).toHaveLength(4);
    const [first = "", second = ""] = ids;
    expect(await rowOf(local.kv, parseJobId(second))).toMatchObject({ priority: 5, attributes: { of: "demo" } });
    expect(await inboxOf(local.kv, parseJobId(first))).toEqual([
      { kind: "signal", signal: "go", payload: { by: "ann" }, principal: "slice demo" },
    ]);
  });

  test("says what is wrong, and starts nothing then", async () => {
    const { local, services } = await openJobsDoors();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const [agent, given, options] = input;
      const value = given === "huge" ? "x".repeat(5 * 1_048_576) : given;
      return await ctx.agents.start(agent === "claims" ? claims : agent, value, options);
    `);
    const spec = await fixture.run(runBundle(handler, CLAIMS));
    const wrong = [["claims", { order: 1 }], ["No Name", 1], ["other", 1, { id: "no id!" }], [{}, 1],
      ["other", "huge"], ["other", 1, { priority: 1_001 }], ["other", 1, { attributes: { a: 1 } }]];
    const codes: unknown[] = [];
    for (const input of wrong) codes.push(await invoke(fixture, spec.key, input));
    const invalid = { kind: "ok", output: ["E_INVALID", expect.any(String)] };
    const tooLarge = { kind: "ok", output: ["E_TOO_LARGE", expect.any(String)] };
    expect(codes).toEqual([invalid, invalid, invalid, invalid, tooLarge, invalid, invalid]);
    expect((await local.kv.list({ prefix: prefixOf({ kind: "jobs" }) })).entries).toHaveLength(0);
  });
});

describe("ctx.kv", () => {
  test("is watched for as long as the handler runs, and by start for as long as the instance", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const seen = [];
      const watching = (async () => {
        for await (const { changes } of ctx.kv.watch({ prefix: 'w/', fromRevision: input })) {
          for (const change of changes) seen.push(change.kind === 'put' ? change.entry.value : 'gone');
          if (seen.length >= 3) return;
        }
      })();
      await ctx.kv.put('w/1', 1);
      const both = [{ kind: 'put', key: 'w/2', value: 2 }, { kind: 'delete', key: 'w/1' }];
      await ctx.kv.transact({ compare: [], then: both });
      await watching;
      const lease = await ctx.lease('here');
      await ctx.kv.put('present', true, { lease });
      const before = (await ctx.kv.get('present')).value;
      await lease.release();
      return [seen, before, await ctx.kv.get('present') === undefined];
    `);
    const start = `start: (ctx) => void (async () => {
      for await (const { changes } of ctx.kv.watch({ prefix: 'ping' })) await ctx.kv.put('pong', changes.length);
    })()`;
    const spec = await fixture.run(runBundle(handler, "", start));
    expect(await invoke(fixture, spec.key, local.kv.revision + 1)).toEqual({
      kind: "ok", output: [[1, 2, "gone"], true, true],
    });
    const ping = parseKeyText("data/slices/demo/ping");
    await local.kv.transact({ compare: [], then: [{ kind: "put", key: ping, value: 1 }], else: [] });
    let pong: unknown;
    const watch = local.kv.watch("data/slices/demo/pong", {
      onChanges: ({ changes: [change] }) => (pong = change?.kind === "put" ? change.entry.value : undefined),
      onEnd: () => undefined,
    }, { fromRevision: 1 });
    await until(fixture.clock, () => pong === 1);
    watch.cancel();
    await fixture.store.close();
    await until(fixture.clock, () => local.kv.observe().watches.open === 0);
  });

  test("reads, writes, compares and lists, in handlers and in hooks", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const first = await ctx.kv.get('started');
      const put = await ctx.kv.put('a', { n: input });
      const again = await ctx.kv.put('a', { n: input + 1 }, { ifRevision: put.revision });
      const late = await ctx.kv.put('a', 0, { ifRevision: put.revision }).catch((error) => error);
      const { entries } = await ctx.kv.list({ prefix: 'a' });
      const gone = await ctx.kv.delete('a', { ifRevision: again.revision });
      const txn = await ctx.kv.transact({
        compare: [{ key: 'a', target: 'exists', op: '=', value: false }],
        then: [{ kind: 'put', key: 'b', value: 'yes' }, { kind: 'get', key: 'b' }],
      });
      return [first.value, entries[0].value, late.code, late.details.modRevision === again.revision, gone.deleted,
        txn.succeeded, txn.results[1].entry.value];
    `);
    const spec = await fixture.run(runBundle(handler, "", "start: (ctx) => ctx.kv.put('started', true)"));
    expect(await invoke(fixture, spec.key, 4)).toEqual({
      kind: "ok", output: [true, { n: 5 }, "E_CONFLICT", true, true, true, "yes"],
    });
    expect((await local.kv.get(parseKeyText("data/slices/demo/b"))).entry?.value).toBe("yes");
  });

  test("tells what is known of a write that nobody waited for, and of what was never sent", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = `async (input, ctx) => {
      const stop = new AbortController();
      if (input !== 'before') setTimeout(() => stop.abort(), 20);
      else stop.abort();
      const options = { signal: stop.signal };
      const tried = await Promise.allSettled([ctx.kv.put('a', 1, options), ctx.kv.get('a', options)]);
      return tried.map(({ reason }) => [reason.code, reason.outcome ?? 'none']);
    }`;
    const spec = await fixture.run(runBundle(handler));
    expect(await invoke(fixture, spec.key, "before")).toEqual({
      kind: "ok", output: [["E_TIMEOUT", "not-applied"], ["E_TIMEOUT", "not-applied"]],
    });
    local.group.setMode("silent");
    expect(await invoke(fixture, spec.key, "during")).toEqual({
      kind: "ok", output: [["E_TIMEOUT", "unknown"], ["E_TIMEOUT", "none"]],
    });
  });

  test("never waits beyond the deadline of the call", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const spec = await fixture.run(runBundle(telling("await ctx.kv.put('a', input); return 'done';")));
    local.group.setMode("silent");
    const reply = await invoke(fixture, spec.key, 1, { timeoutMs: 50 });
    expect(reply).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT", outcome: "unknown" } });
    local.group.setMode("deciding");
    expect(await invoke(fixture, spec.key, 2)).toEqual({ kind: "ok", output: "done" });
  });

  test("a store without quorum is told as such, and what cannot be stored is refused with its place", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      await ctx.kv.put(input.key, input.isCode ? { at: { this: () => 1 } } : 1); return 'done';
    `);
    const spec = await fixture.run(runBundle(handler));
    expect(await invoke(fixture, spec.key, { key: "a", isCode: true })).toEqual({
      kind: "ok", output: ["E_INVALID", "not-applied"],
    });
    expect(await invoke(fixture, spec.key, { key: "../other/a" })).toEqual({
      kind: "ok", output: ["E_INVALID", "not-applied"],
    });
    local.group.setMode("no-quorum");
    expect(await invoke(fixture, spec.key, { key: "a" })).toEqual({
      kind: "ok", output: ["E_NO_QUORUM", "not-applied"],
    });
  });

  test("requests without end are refused at a bound, in the worker itself, and the node goes on", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services, config: { outgoingCallsMax: 8 } });
    const handler = `async (input, ctx) => {
      const tried = await Promise.allSettled(Array.from({ length: 20 }, (_, at) => ctx.kv.put('k' + at, at)));
      return tried.map(({ status, reason }) => reason?.code ?? status);
    }`;
    const spec = await fixture.run(runBundle(handler));
    const codes = await invoke(fixture, spec.key, 1);
    expect(codes).toEqual({
      kind: "ok", output: [...Array<string>(8).fill("fulfilled"), ...Array<string>(12).fill("E_OVERLOADED")],
    });
    expect((await local.kv.list({ prefix: "data/" })).entries).toHaveLength(8);
  });

  test("a worker that ends has its requests ended", async () => {
    const signals: AbortSignal[] = [];
    const services: SliceServices = {
      kv: () => ({
        run: (_op, _args, { signal }) => (signals.push(signal), new Promise(() => undefined)),
        close: () => undefined,
      }),
    };
    await using fixture = await openFixture({ services });
    const spec = await fixture.run(runBundle("(input, ctx) => ctx.kv.get('a')"));
    const left = invoke(fixture, spec.key, 1);
    await until(fixture.clock, () => signals.length === 1);
    await fixture.store.unload(spec.key);
    expect(signals[0]?.aborted).toBe(true);
    expect(await left).toMatchObject({ kind: "failed", error: { code: "E_TIMEOUT" } });
  });
});

describe("ctx.lease", () => {
  const KEY = parseKeyText("leases/demo/one");

  test("one instance at most has it; tokens grow; what a handler took ends with the handler", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const lease = await ctx.lease('one', input.options);
      await lease.kv.put('by', lease.token);
      await new Promise((resolve) => setTimeout(resolve, input.ms));
      return lease.token;
    `);
    const first = await fixture.run(runBundle(handler));
    const second = await fixture.run(runBundle(handler), { index: 1 });
    const long = invoke(fixture, first.key, { ms: 300 });
    await until(fixture.clock, () => local.kv.revision > 0);
    const refused = await invoke(fixture, second.key, { ms: 0 });
    expect(refused).toEqual({ kind: "ok", output: ["E_CONFLICT", "not-applied"] });
    const waited = invoke(fixture, second.key, { ms: 0, options: { waitMs: 5_000 } });
    const tokens = [await long, await waited, await invoke(fixture, first.key, { ms: 0 })]
      .map((reply) => (reply.kind === "ok" ? Number(reply.output) : Number.NaN));
    expect([...tokens].sort((a, b) => a - b)).toEqual(tokens);
    expect(new Set(tokens).size).toBe(3);
    expect((await local.kv.get(KEY)).entry).toBeUndefined();
    expect((await local.kv.get(parseKeyText("data/slices/demo/by"))).entry?.value).toBe(tokens[2]);
  });

  test("what start took is held until the instance ends, and its row says by whom", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const spec = await fixture.run(runBundle("() => 1", "", "start: async (ctx) => { await ctx.lease('one'); }"));
    const { entry } = await local.kv.get(KEY);
    expect(entry?.value).toEqual({ node: "n1", instance: spec.key, ttlMs: 10_000 });
    await fixture.store.deactivate(spec.key, NEVER);
    expect((await local.kv.get(KEY)).entry).toBeUndefined();
  });

  test("a worker that dies gives back what it had", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const spec = await fixture.run(runBundle("async (input, ctx) => { await ctx.lease('one'); process.exit(3); }"));
    expect(await invoke(fixture, spec.key, 1)).toMatchObject({ kind: "failed" });
    await until(fixture.clock, () => fixture.lost.length === 1);
    await expect.poll(async () => (await local.kv.get(KEY)).entry).toBeUndefined();
  });

  test("what a handler holds is given back at its end, also when it has as much under way as it may", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services, config: { outgoingCallsMax: 2 } });
    const spec = await fixture.run(runBundle(`async (_, ctx) => {
      await ctx.lease('one');
      for (const key of ['a', 'b']) ctx.kv.get(key).catch(() => undefined);
    }`));
    expect(await invoke(fixture, spec.key, 1)).toMatchObject({ kind: "ok" });
    expect((await local.kv.list({ prefix: "leases/" })).entries).toEqual([]);
  });

  test("a lease that ended behind its holder's back aborts its signal and fences its writes", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const lease = await ctx.lease('one', { ttlMs: 1000 });
      await ctx.kv.put('taken', true);
      await new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
      const late = await lease.kv.put('a', 1).catch((error) => error.code);
      await lease.release();
      return [lease.signal.reason.code, late, (await lease.kv.get('taken')).value];
    `);
    const spec = await fixture.run(runBundle(handler));
    const running = invoke(fixture, spec.key, 1);
    const taken = parseKeyText("data/slices/demo/taken");
    await expect.poll(async () => (await local.kv.get(taken)).entry?.value).toBe(true);
    const { entry } = await local.kv.get(KEY);
    await local.kv.revokeLease(entry?.lease ?? 0);
    expect(await running).toEqual({ kind: "ok", output: ["E_NOT_FOUND", "E_FENCED", true] });
  });

  test("a lease that cannot be renewed in time counts as lost", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      const lease = await ctx.lease('one', { ttlMs: 1000 });
      await ctx.kv.put('taken', true);
      await new Promise((resolve) => lease.signal.addEventListener('abort', resolve));
      return lease.signal.reason.code;
    `);
    const spec = await fixture.run(runBundle(handler));
    const running = invoke(fixture, spec.key, 1);
    const taken = parseKeyText("data/slices/demo/taken");
    await expect.poll(async () => (await local.kv.get(taken)).entry?.value).toBe(true);
    local.group.setMode("no-quorum");
    expect(await running).toEqual({ kind: "ok", output: "E_TIMEOUT" });
  });

  test("a caller that leaves while it waits leaves nothing behind, and the number of leases has a bound", async () => {
    const { local, services } = await openStore();
    await using fixture = await openFixture({ services });
    const handler = telling(`
      if (input === 'hold') { await ctx.lease('one'); await new Promise(() => {}); }
      if (input === 'leave') {
        const options = { waitMs: 10_000, signal: AbortSignal.timeout(50) };
        return await ctx.lease('one', options).catch((error) => error.code);
      }
      const many = Array.from({ length: input }, (_, at) => ctx.lease('m' + at));
      return (await Promise.allSettled(many)).filter(({ reason }) => reason?.code === 'E_OVERLOADED').length;
    `);
    const holder = await fixture.run(runBundle(handler));
    const other = await fixture.run(runBundle(handler), { index: 1 });
    const held = invoke(fixture, holder.key, "hold");
    await until(fixture.clock, () => local.kv.revision > 0);
    expect(await invoke(fixture, other.key, "leave")).toEqual({ kind: "ok", output: "E_TIMEOUT" });
    const over = await invoke(fixture, other.key, LEASES_PER_INSTANCE_MAX + 3);
    expect(over).toEqual({ kind: "ok", output: 3 });
    await fixture.store.unload(holder.key);
    await held;
    await expect.poll(async () => (await local.kv.list({ prefix: "leases/" })).entries).toEqual([]);
  });

  test.each([[{ ttlMs: 999 }], [{ ttlMs: "long" }], [{ ttlMs: 90_000_000 }], [{ waitMs: "long", timeoutMs: 1_000 }]])(
    "refuses %j",
    async (options) => {
      const { services } = await openStore();
      await using fixture = await openFixture({ services });
      const spec = await fixture.run(runBundle(telling("return await ctx.lease('one', input);")));
      expect(await invoke(fixture, spec.key, options)).toEqual({ kind: "ok", output: ["E_INVALID", "not-applied"] });
    },
  );
});

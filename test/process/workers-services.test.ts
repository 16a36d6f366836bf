// What a handler has beside calls, in real worker threads over a real store of one process.
import { describe, expect, onTestFinished, test } from "vitest";
import { parseKeyText } from "../../src/kvstore/core/key.ts";
import { openKvService } from "../../src/slices/services/kv-service.ts";
import type { SliceServices } from "../../src/slices/services/slice-services.ts";
import type { IncomingReply } from "../../src/slices/running-instances.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { NEVER, openFixture, runBundle, until, type Fixture } from "../unit/slices-runtime/runtime-fixture.ts";

async function openStore(): Promise<{ readonly local: LocalKv; readonly services: SliceServices }> {
  const local = await createLocalKv();
  onTestFinished(() => local.close());
  return { local, services: { kv: openKvService(local.kv) } };
}

interface InvokeOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

function invoke(
  fixture: Fixture, instance: string, input: unknown, options: InvokeOptions = {},
): Promise<IncomingReply> {
  const { timeoutMs = 10_000, signal = NEVER } = options;
  return fixture.store.invoke({ instance, method: "run", input, timeoutMs }, signal);
}

/** A handler that answers what fails as `[code, outcome]`. */
function telling(body: string): string {
  return `async (input, ctx) => {
    try { ${body} } catch (error) { return [error.code, error.outcome ?? 'none']; }
  }`;
}

describe("ctx.kv", () => {
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

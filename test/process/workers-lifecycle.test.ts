// Real worker threads: what a slice does at load, start and stop, and how an instance ends.
import { describe, expect, test } from "vitest";
import { parseArtifactId } from "../../src/base/ids.ts";
import { MiB } from "../../src/base/units.ts";
import { bundleOf, NEVER, openFixture, runBundle, specOf, until } from "../unit/slices-runtime/runtime-fixture.ts";

const ECHO = runBundle("async (input) => input");

describe("loading and activating an instance", () => {
  test("an instance is loaded, activated, called, deactivated, activated again and unloaded", async () => {
    await using fixture = await openFixture();
    const { store } = fixture;
    const spec = fixture.publish(ECHO);
    await store.load(spec, NEVER);
    expect(store.hosted().get(spec.key)).toBe("loaded");
    expect(await store.activate(spec.key, NEVER)).toEqual([{ method: "run", effect: "write", timeoutMs: 15_000 }]);
    expect(store.hosted().get(spec.key)).toBe("active");
    const call = { instance: spec.key, method: "run", input: { a: 1 }, timeoutMs: 5_000 };
    expect(await store.invoke(call)).toEqual({ kind: "ok", output: { a: 1 } });
    await store.deactivate(spec.key, NEVER);
    expect(store.hosted().get(spec.key)).toBe("loaded");
    expect(await store.invoke(call)).toMatchObject({ kind: "not-started", error: { code: "E_UNAVAILABLE" } });
    await store.activate(spec.key, NEVER);
    expect(await store.invoke(call)).toMatchObject({ kind: "ok" });
    await store.unload(spec.key);
    await store.unload(spec.key);
    expect(store.hosted().size).toBe(0);
    expect(fixture.liveWorkers()).toBe(0);
    expect(fixture.lost).toEqual([]);
  });

  const failures = [
    {
      name: "throws at import",
      source: "throw new RangeError('no luck');",
      code: "E_HANDLER", text: /import.*RangeError: no luck/,
    },
    { name: "is not JavaScript", source: "export default {", code: "E_HANDLER", text: /SyntaxError/ },
    { name: "has no default export", source: "export const a = 1;", code: "E_INVALID", text: /no default export/ },
    { name: "exits at import", source: "process.exit(3);", code: "E_HANDLER", text: /exit code 3/ },
    { name: "has another contract", source: bundleOf("other", "", "methods: {}"), code: "E_INVALID", text: /"other"/ },
    {
      name: "lacks a handler",
      source: bundleOf("demo", "run: { input: z.any(), output: z.any() }", "methods: {}"),
      code: "E_INVALID",
      text: /no handler for "run"/,
    },
    {
      name: "calls a slice that was not resolved",
      source: bundleOf("demo", "", "methods: {}, uses: { pricing: { name: 'pricing', methods: {} } }"),
      code: "E_INVALID",
      text: /pricing/,
    },
    {
      name: "refuses its config",
      source: bundleOf("demo", "", "methods: {}, config: z.object({ currency: z.string() })"),
      code: "E_INVALID",
      text: /currency/,
    },
  ];
  for (const { name, source, code, text } of failures) {
    test(`a bundle that ${name} fails to load with ${code} and leaves no worker`, async () => {
      await using fixture = await openFixture();
      const spec = fixture.publish(source);
      await expect(fixture.store.load(spec, NEVER)).rejects.toMatchObject({
        code, message: expect.stringMatching(text),
      });
      expect(fixture.store.hosted().size).toBe(0);
      expect(fixture.liveWorkers()).toBe(0);
      expect(fixture.lost).toEqual([]);
    });
  }

  test("an import that loops for ever ends with the caller's time limit", async () => {
    await using fixture = await openFixture();
    const spec = fixture.publish("for (;;) {}");
    const limit = new AbortController();
    const loading = fixture.store.load(spec, limit.signal);
    await until(fixture.clock, () => fixture.liveWorkers() === 1);
    limit.abort();
    await expect(loading).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "not-applied" });
    expect(fixture.liveWorkers()).toBe(0);
  });

  test("a start that throws fails with its error", async () => {
    await using fixture = await openFixture();
    const spec = fixture.publish(runBundle("async () => 1", "", "start: async () => { throw new TypeError('cold'); }"));
    await fixture.store.load(spec, NEVER);
    await expect(fixture.store.activate(spec.key, NEVER)).rejects.toMatchObject({
      code: "E_HANDLER",
      details: { step: "start", name: "TypeError", message: "cold" },
    });
    expect(fixture.liveWorkers()).toBe(0);
  });

  test("a start that fails by what it did with ctx is its own failure, whatever code that had", async () => {
    await using fixture = await openFixture();
    const spec = fixture.publish(runBundle("async () => 1", "", "start: (ctx) => ctx.kv.get('a', { timeoutMs: 'x' })"));
    await fixture.store.load(spec, NEVER);
    await expect(fixture.store.activate(spec.key, NEVER)).rejects.toMatchObject({
      code: "E_HANDLER", details: { step: "start", name: "AetherError", code: "E_INVALID" },
    });
  });

  test("a start that never ends is stopped by the hook's own limit", async () => {
    await using fixture = await openFixture({ config: { hookMsMax: 50 } });
    const spec = fixture.publish(runBundle("async () => 1", "", "start: () => new Promise(() => {})"));
    await fixture.store.load(spec, NEVER);
    await expect(fixture.store.activate(spec.key, NEVER)).rejects.toMatchObject({ code: "E_TIMEOUT" });
    expect(fixture.store.hosted().size).toBe(0);
    expect(fixture.liveWorkers()).toBe(0);
  });

  test("a stop that loops for ever is stopped by the hook's own limit", async () => {
    await using fixture = await openFixture({ config: { hookMsMax: 50 } });
    const spec = await fixture.run(runBundle("async () => 1", "", "stop: () => { for (;;); }"));
    await expect(fixture.store.deactivate(spec.key, NEVER)).rejects.toMatchObject({ code: "E_TIMEOUT" });
    expect(fixture.liveWorkers()).toBe(0);
  });

  test("unload wins over a load under way, and the same key can be loaded again", async () => {
    await using fixture = await openFixture();
    const spec = fixture.publish("await new Promise(() => setInterval(() => {}, 1e6));");
    const loading = fixture.store.load(spec, NEVER);
    const failed = expect(loading).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    await until(fixture.clock, () => fixture.liveWorkers() === 1);
    await fixture.store.unload(spec.key);
    await failed;
    expect(fixture.liveWorkers()).toBe(0);
    await fixture.run(ECHO);
    expect(fixture.store.hosted().get(spec.key)).toBe("active");
  });

  test("a second load of a hosted instance, and a step out of order, are refused and change nothing", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(ECHO);
    await expect(fixture.store.load(spec, NEVER)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    await expect(fixture.store.activate(spec.key, NEVER)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    expect(fixture.store.hosted().get(spec.key)).toBe("active");
  });

  test("limits that a worker cannot have are refused before anything starts", async () => {
    await using fixture = await openFixture();
    const wrong = [{ heapBytesMax: 1 * MiB }, { concurrency: 0 }, { variables: { NODE_OPTIONS: "--inspect" } }];
    for (const overrides of wrong) {
      await expect(fixture.store.load(specOf(overrides), NEVER)).rejects.toMatchObject({ code: "E_INVALID" });
    }
    expect(fixture.store.hosted().size).toBe(0);
  });

  test("start and stop get config, log and a signal that aborts when the instance stops", async () => {
    await using fixture = await openFixture();
    const spec = await fixture.run(
      runBundle(
        "async (_, ctx) => ({ config: ctx.config, started })",
        "let started; let activity;",
        `config: z.object({ currency: z.string().default("EUR") }),
         start: (ctx) => { started = ctx.config.currency; activity = ctx.signal; ctx.log.info("hello", { a: 1 }); },
         stop: (ctx) => { ctx.log.info("stopped", { activityAborted: activity.aborted }); }`,
      ),
    );
    const call = { instance: spec.key, method: "run", input: undefined, timeoutMs: 5_000 };
    expect(await fixture.store.invoke(call)).toEqual({
      kind: "ok", output: { config: { currency: "EUR" }, started: "EUR" },
    });
    await fixture.store.deactivate(spec.key, NEVER);
    expect(fixture.lines).toContainEqual({
      level: "info", event: "slice.log", slice: "demo", instance: spec.key, text: "hello", fields: { a: 1 },
    });
    expect(fixture.lines).toContainEqual(
      expect.objectContaining({ text: "stopped", fields: { activityAborted: true } }),
    );
  });

  test("a worker sees only the listed variables, and its output is logged by lines", async () => {
    await using fixture = await openFixture();
    const handler = "async () => { console.log('one\\ntwo'); console.error('three'); return { ...process.env }; }";
    const spec = await fixture.run(runBundle(handler), { variables: { SHOP: "1" } });
    const call = { instance: spec.key, method: "run", input: undefined, timeoutMs: 5_000 };
    expect(await fixture.store.invoke(call)).toEqual({ kind: "ok", output: { SHOP: "1" } });
    await until(fixture.clock, () => fixture.lines.length >= 3);
    const texts = fixture.lines.map(({ text, stream }) => ({ text, stream }));
    expect(texts).toEqual(expect.arrayContaining([
      { text: "one", stream: "stdout" }, { text: "two", stream: "stdout" }, { text: "three", stream: "stderr" },
    ]));
  });

  test("two instances of one artifact have one bundle file, and separate state", async () => {
    await using fixture = await openFixture();
    const counter = runBundle("async () => ++count", "let count = 0;");
    const [first, second] = await Promise.all([fixture.run(counter), fixture.run(counter, { index: 1 })]);
    const call = { method: "run", input: undefined, timeoutMs: 5_000 };
    await fixture.store.invoke({ ...call, instance: first.key });
    expect(await fixture.store.invoke({ ...call, instance: first.key })).toEqual({ kind: "ok", output: 2 });
    expect(await fixture.store.invoke({ ...call, instance: second.key })).toEqual({ kind: "ok", output: 1 });
  });

  test("no more workers start at once than the node allows, and all of them start", async () => {
    await using fixture = await openFixture({ config: { loadsAtOnceMax: 2 } });
    const source = runBundle("async () => 1", "await new Promise((go) => setTimeout(go, 50));");
    const specs = [0, 1, 2, 3, 4, 5].map((index) => fixture.publish(source, { index }));
    let most = 0;
    const states = (): number => {
      const loaded = [...fixture.store.hosted().values()].filter((state) => state === "loaded").length;
      most = Math.max(most, fixture.liveWorkers() - loaded);
      return loaded;
    };
    const loading = specs.map((spec) => fixture.store.load(spec, NEVER));
    await until(fixture.clock, () => states() === specs.length);
    await Promise.all(loading);
    expect(most).toBeLessThanOrEqual(2);
  });

  test("closing the store ends every worker and refuses new ones", async () => {
    await using fixture = await openFixture();
    await fixture.run(ECHO);
    await fixture.run(ECHO, { artifact: parseArtifactId("demo:demo:2.0.0") });
    expect(fixture.liveWorkers()).toBe(2);
    await fixture.store.close();
    expect(fixture.liveWorkers()).toBe(0);
    await expect(fixture.store.load(specOf(), NEVER)).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
  });
});

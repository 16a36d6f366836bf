// Real nodes that run slices, while a slice or its node is in trouble.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { sampleArchive } from "../unit/slices-build/sample-artifacts.ts";

/** A slice without any import: schemas that take everything, and one method `ping`. */
function sliceSource(slice: string, handler: string, rest = ""): string {
  return `const parse = (data) => ({ success: true, data });
const any = { safeParse: parse, safeParseAsync: async (data) => parse(data) };
const contract = { name: "${slice}", methods: { ping: { input: any, output: any, effect: "write", timeoutMs: 1000 } } };
export default { contract, methods: { ping: ${handler} }, ${rest} };`;
}

async function push(fleet: NodeFleet, artifact: string, source: string): Promise<void> {
  const raw = new Uint8Array(sampleArchive({ artifact, bundle: new TextEncoder().encode(source) }));
  const answer = await ask(`${fleet.api("n1")}/v1/artifacts/${artifact}`, { method: "PUT", raw });
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

async function apply(fleet: NodeFleet, slice: string, instances = 1): Promise<void> {
  const body = { slices: { [slice]: { artifact: `demo:${slice}:1.0.0`, instances } } };
  const answer = await ask(`${fleet.api("n1")}/v1/blueprints/shop`, { method: "PUT", body });
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

function ping(fleet: NodeFleet, slice: string, input: unknown = {}) {
  return ask(`${fleet.api("n1")}/v1/call/${slice}/ping`, { method: "POST", body: input });
}

async function serving(fleet: NodeFleet, slice: string): Promise<void> {
  await eventually(`${slice} to serve`, async () => (await ping(fleet, slice)).status === 200 || undefined);
}

test("a node that must stop takes its slices with it, and its process ends", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  await push(fleet, "demo:echo:1.0.0", sliceSource("echo", "(input) => input"));
  await apply(fleet, "echo");
  await serving(fleet, "echo");
  // The next file that the journal begins has nowhere to go.
  await rm(join(fleet.dataDir("n1"), "journal"), { recursive: true });
  const body = "x".repeat(400_000);
  const writes = Array.from({ length: 40 }, (_, index) =>
    ask(`${fleet.api("n1")}/v1/kv/data/fill/${index}`, { method: "PUT", body }));
  await Promise.allSettled(writes);
  expect(await fleet.process("n1").waitForEnd()).toEqual({ code: 1, signal: null });
});

test("a slice that loops for ever is replaced by a fresh instance, and its node goes on", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"], config: { runtime: { stallMsMax: 1_000 } } });
  await fleet.startAll();
  await push(fleet, "demo:loop:1.0.0", sliceSource("loop", "(input) => { for (; input.loop;); return 1; }"));
  await apply(fleet, "loop");
  await serving(fleet, "loop");
  expect((await ping(fleet, "loop", { loop: true })).status).toBe(504);
  await serving(fleet, "loop");
  expect(fleet.process("n1").logged("slice.lost")).toHaveLength(1);
  expect(await fleet.process("n1").stop("SIGTERM")).toEqual({ code: 0, signal: null });
});

test("a node that stops gives calls in flight their time, and stop() its own after them", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"], config: { deployment: { stopDrainMsMax: 300 } } });
  await fleet.startAll();
  const stop = "stop: async (ctx) => { await new Promise((go) => setTimeout(go, 500)); ctx.log.info('let go'); },";
  await push(fleet, "demo:hold:1.0.0", sliceSource("hold", "(input) => input.hold ? new Promise(() => {}) : 1", stop));
  await apply(fleet, "hold");
  await serving(fleet, "hold");
  const headers = { "x-deadline-ms": "60000" };
  const url = `${fleet.api("n1")}/v1/call/hold/ping`;
  // ignored: whether it is answered or cut off is not asked here
  const held = ask(url, { method: "POST", body: { hold: true }, headers }).catch(() => undefined);
  await eventually("the call to run", async () => {
    const { body } = await ask(`${fleet.api("n1")}/metrics`);
    return /aether_calls_in_flight\S* 1\n/.test(String(body)) || undefined;
  });
  expect(await fleet.process("n1").stop("SIGTERM")).toEqual({ code: 0, signal: null });
  expect(fleet.process("n1").logged("slice.log").map(({ text }) => text)).toContain("let go");
  expect(fleet.process("n1").logged("node.stop-step-failed")).toEqual([]);
  await held;
});

test("a node with many instances has nothing to complain about", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"] });
  await fleet.startAll();
  await push(fleet, "demo:echo:1.0.0", sliceSource("echo", "(input) => input"));
  await apply(fleet, "echo", 12);
  await eventually("12 instances", async () => {
    const { body } = await ask(`${fleet.api("n1")}/v1/blueprints/shop/status`);
    return JSON.stringify(body).includes('"active":12') || undefined;
  });
  await fleet.process("n1").stop("SIGTERM");
  expect(fleet.process("n1").complaints).toEqual([]);
});

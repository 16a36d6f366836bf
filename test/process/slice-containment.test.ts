// A real node whose slices do what they should not, one after the other: its neighbours answer, the node is ready and
// writes, and a person finds the reason in the status of the blueprint and in one line of the log.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { sampleArchive } from "../unit/slices-build/sample-artifacts.ts";

let fleet: NodeFleet;

const API = () => fleet.api("n1");

/** A slice without any import: schemas that take everything, and one method `ping`. */
function sliceSource(slice: string, { head = "", handler = "() => 1", rest = "" }: Partial<Fault> = {}): string {
  return `${head}
const parse = (data) => ({ success: true, data });
const any = { safeParse: parse, safeParseAsync: async (data) => parse(data) };
const contract = { name: "${slice}", methods: { ping: { input: any, output: any, effect: "write", timeoutMs: 3000 } } };
export default { contract, methods: { ping: ${handler} }, ${rest} };`;
}

async function run(blueprint: string, slice: string, source: string): Promise<void> {
  const artifact = `demo:${slice}:1.0.0`;
  const raw = new Uint8Array(sampleArchive({ artifact, bundle: new TextEncoder().encode(source) }));
  const pushed = await ask(`${API()}/v1/artifacts/${artifact}`, { method: "PUT", raw });
  expect(pushed.status, JSON.stringify(pushed.body)).toBeLessThan(300);
  const body = { slices: { [slice]: { artifact, instances: 1, heapBytesMax: 32 * 1_024 * 1_024 } } };
  const applied = await ask(`${API()}/v1/blueprints/${blueprint}`, { method: "PUT", body });
  expect(applied.status, JSON.stringify(applied.body)).toBeLessThan(300);
}

function ping(slice: string) {
  return ask(`${API()}/v1/call/${slice}/ping`, { method: "POST", body: { a: 1 } });
}

beforeAll(async () => {
  const runtime = { stallMsMax: 1_000, hookMsMax: 1_000 };
  const deployment = { loadingMsMax: 2_000, activatingMsMax: 5_000 };
  fleet = await NodeFleet.create({ names: ["n1"], config: { runtime, deployment } });
  await fleet.startAll();
  await run("good", "neighbour", sliceSource("neighbour", { handler: "(input) => input" }));
  await eventually("the neighbour to serve", async () => (await ping("neighbour")).status === 200 || undefined);
});

afterAll(() => fleet.close());

interface Fault {
  readonly name: string;
  readonly head?: string;
  readonly handler?: string;
  readonly rest?: string;
  /** The code in the instance's row, and its reason. */
  readonly code: string;
  readonly reason: RegExp;
  /** It does no harm until it is called. */
  readonly isCalled?: true;
}

const growing = "for (const kept = [];;) kept.push(Buffer.alloc(16e6, 1));";

const faults: readonly Fault[] = [
  { name: "never ends its import", head: "await new Promise(() => setInterval(() => {}, 1e6));", code: "E_TIMEOUT", reason: /loading took longer than 2000 ms/ },
  { name: "loops in its import", head: "for (;;);", code: "E_TIMEOUT", reason: /loading took longer/ },
  { name: "fills buffers in its import", head: growing, code: "E_HANDLER", reason: /memory of its node grew/ },
  { name: "throws in start", rest: "start: () => { throw new TypeError('cold'); }", code: "E_HANDLER", reason: /start .* threw TypeError: cold/ },
  { name: "never ends start", rest: "start: () => new Promise(() => {})", code: "E_TIMEOUT", reason: /did not end within its time limit/ },
  {
    name: "fills its heap", isCalled: true,
    handler: "() => { for (const kept = [];;) kept.push({ kept }); }", code: "E_UNAVAILABLE",
    // Which of the limits it meets first depends on how fast the machine is.
    reason: /memory of its node grew|more heap|event loop stood still/,
  },
  { name: "fills buffers in a loop", isCalled: true, handler: `() => { ${growing} }`, code: "E_UNAVAILABLE", reason: /memory of its node grew/ },
  { name: "keeps ever more buffers", rest: "start: () => void setInterval(() => (globalThis.kept ??= []).push(Buffer.alloc(8e6, 1)), 20)", code: "E_UNAVAILABLE", reason: /buffers beside its heap/ },
  { name: "recurses without end", isCalled: true, handler: "() => { const f = () => 1 + f(); setTimeout(f); return new Promise(() => {}); }", code: "E_UNAVAILABLE", reason: /Maximum call stack/ },
  { name: "loops without a call", rest: "start: () => void setTimeout(() => { for (;;); }, 50)", code: "E_UNAVAILABLE", reason: /event loop stood still/ },
  { name: "exits", isCalled: true, handler: "() => process.exit(3)", code: "E_UNAVAILABLE", reason: /exit code 3/ },
  { name: "throws in a timer", isCalled: true, handler: "() => { setTimeout(() => { throw { toString: null }; }); return new Promise(() => {}); }", code: "E_UNAVAILABLE", reason: /uncaught object/ },
  { name: "prints in a loop", isCalled: true, handler: "() => { for (;;) console.log('x'); }", code: "E_UNAVAILABLE", reason: /event loop stood still/ },
  { name: "logs in a loop", isCalled: true, handler: "(_, ctx) => { for (;;) ctx.log.info('x'); }", code: "E_UNAVAILABLE", reason: /event loop stood still/ },
  {
    name: "posts in a loop", isCalled: true, head: "import { parentPort } from 'node:worker_threads';",
    handler: "() => { for (;;) parentPort.postMessage('x'.repeat(1e6)); }", code: "E_UNAVAILABLE", reason: /event loop stood still/,
  },
];

describe("a node whose slice", () => {
  for (const [index, { name, code, reason, isCalled, ...source }] of faults.entries()) {
    test(`${name} says why, and goes on`, async () => {
      const slice = `bad${index}`;
      const { pid } = fleet.process("n1");
      await run("bad", slice, sliceSource(slice, source));
      let called: Promise<unknown> = Promise.resolve();
      if (isCalled === true) {
        await eventually(`${slice} to serve`, async () =>
          JSON.stringify((await ask(`${API()}/v1/blueprints/bad/status`)).body).includes('"ACTIVE"') || undefined);
        called = ping(slice);
      }
      await eventually("the reason in the status", async () => {
        const { body } = await ask(`${API()}/v1/blueprints/bad/status`);
        expect(await ping("neighbour")).toMatchObject({ status: 200, body: { a: 1 } });
        const error = { code, message: expect.stringMatching(reason) as unknown };
        expect(body).toMatchObject({ slices: { [slice]: { instances: [{ state: "FAILED", error }] } } });
        return true;
      });
      expect((await ask(`${API()}/readyz`)).status).toBe(200);
      expect((await ask(`${API()}/v1/kv/data/a`, { method: "PUT", body: index })).status).toBe(200);
      const said = fleet.process("n1").logged("instance.failed").filter((line) => line["slice"] === slice);
      expect(said[0]).toMatchObject({ code, reason: expect.stringMatching(reason) });
      await called;
      await ask(`${API()}/v1/blueprints/bad`, { method: "DELETE" });
      await eventually("it to be gone", async () =>
        (await ask(`${API()}/v1/blueprints/bad/status`)).status === 404 || undefined);
      expect(fleet.process("n1")).toMatchObject({ isRunning: true, pid });
    });
  }

  test("in the end stops in order, without a complaint", async () => {
    expect(await fleet.process("n1").stop("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(fleet.process("n1").complaints).toEqual([]);
  });
});

// Slow. Calls as large as they may be, as many at once as an instance takes, between real nodes: from a client of the
// same node and of another one, and from a slice on the same node and on another one.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { AetherError } from "../../src/base/errors.ts";
import { KiB, MiB, SECOND_MS } from "../../src/base/units.ts";
import { connect } from "../../src/client/connect.ts";
import type { NodeFleet } from "../support/node-fleet.ts";
import { applySlices, createLabelledFleet, pushSlice, untilServed, type HandmadeSlice } from "./support/call-slices.ts";

const COUNT = 64;
const BYTES = 4_000_000;
/** Of inputs of a node's own calls: half of those that the tests want at once. */
const CALL_BYTES_MAX = 128 * MiB;
/** Of all of a node, two workers with their garbage included. */
const NODE_BYTES_MAX = 1536 * MiB;
/** Of a node on which nothing runs but what passes through it. */
const DOOR_BYTES_MAX = 640 * MiB;
const TIMEOUT_MS = 60 * SECOND_MS;

const BULK: HandmadeSlice = {
  artifact: "demo:bulk:1.0.0",
  methods: {
    give: { effect: "write", handler: "({ bytes }) => 'x'.repeat(bytes)" },
    take: { effect: "write", handler: "({ text }) => text.length" },
    hold: { effect: "write", handler: "async ({ text }) => { await sleep(2000); return text.length; }" },
  },
};

/** Calls `bulk` so often at once, and counts how the calls end. */
function callerSlice(name: string): HandmadeSlice {
  return {
    artifact: `demo:${name}:1.0.0`,
    uses: {
      bulk: {
        slice: "bulk", artifact: "demo:bulk@^1.0.0", methods: { give: "write", take: "write", hold: "write" },
      },
    },
    methods: {
      fan: {
        effect: "write",
        handler: `async ({ method, count, bytes }, ctx) => {
          const input = method === "give" ? { bytes } : { text: "x".repeat(bytes) };
          const ends = {};
          await Promise.all(Array.from({ length: count }, async () => {
            let end = "ok";
            try { await ctx.uses.bulk[method](input, { timeoutMs: ${TIMEOUT_MS} }); }
            catch (error) { end = error.code; }
            ends[end] = (ends[end] ?? 0) + 1;
          }));
          return ends;
        }`,
      },
    },
  };
}

type Ends = Readonly<Record<string, number>>;

let fleet: NodeFleet;
let refusals = 0;

beforeAll(async () => {
  fleet = await createLabelledFleet({ config: { invocation: { callBytesMax: CALL_BYTES_MAX } } });
  const heapBytesMax = 1024 * MiB;
  for (const slice of [BULK, callerSlice("near"), callerSlice("far")]) await pushSlice(fleet, slice);
  await applySlices(fleet, {
    bulk: { artifact: "demo:bulk@^1.0.0", labels: { name: "n2" }, heapBytesMax },
    near: { artifact: "demo:near@^1.0.0", labels: { name: "n2" }, heapBytesMax },
    far: { artifact: "demo:far@^1.0.0", labels: { name: "n1" }, heapBytesMax },
  });
  await untilServed(fleet, "bulk/take", { text: "" });
  await untilServed(fleet, "near/fan", { method: "take", count: 0, bytes: 0 });
  await untilServed(fleet, "far/fan", { method: "take", count: 0, bytes: 0 });
});

afterAll(() => fleet.close());

async function fromSlice(slice: string, method: string): Promise<Ends> {
  const client = connect({ nodes: [fleet.api("n3")], discovery: "off" });
  const input = { method, count: COUNT, bytes: BYTES };
  const { output } = await client.call({ slice, method: "fan", input, timeoutMs: TIMEOUT_MS });
  client.close();
  return z.record(z.string(), z.number()).parse(output);
}

async function fromClient(node: string, method: string): Promise<Ends> {
  const client = connect({ nodes: [fleet.api(node)], discovery: "off" });
  const input = method === "give" ? { bytes: BYTES } : { text: "x".repeat(BYTES) };
  const ends: Record<string, number> = {};
  await Promise.all(Array.from({ length: COUNT }, async () => {
    const end = await client.call({ slice: "bulk", method, input, timeoutMs: TIMEOUT_MS }).then(
      () => "ok", (error: unknown) => (error instanceof AetherError ? error.code : String(error)));
    ends[end] = (ends[end] ?? 0) + 1;
  }));
  client.close();
  return ends;
}

/** The most that the process ever had. */
function peakBytes(name: string): number {
  const status = readFileSync(`/proc/${fleet.process(name).pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * KiB;
}

const WAYS: readonly (readonly [string, (method: string) => Promise<Ends>])[] = [
  ["a slice of the same node", (method) => fromSlice("near", method)],
  ["a slice of another node", (method) => fromSlice("far", method)],
  ["a client of the same node", (method) => fromClient("n2", method)],
  ["a client of another node", (method) => fromClient("n3", method)],
];

test.each(WAYS)("every large answer comes, to %s", async (_who, call) => {
  expect(await call("give")).toEqual({ ok: COUNT });
});

test.each(WAYS)("each large input is taken, or refused before anything ran, from %s", async (_who, call) => {
  for (const method of ["take", "hold"]) {
    const { ok = 0, E_OVERLOADED: refused = 0 } = await call(method);
    expect(ok + refused).toBe(COUNT);
    expect(ok).toBeGreaterThan(0);
    refusals += refused;
  }
});

test("all that left the nodes in touch, and their memory bounded", () => {
  expect(refusals).toBeGreaterThan(0);
  const peaks = fleet.names.map((name) => [name, Math.round(peakBytes(name) / MiB)] as const);
  process.stdout.write(`at most ${peaks.map(([name, mebibytes]) => `${name} ${mebibytes} MiB`).join(", ")}\n`);
  for (const name of ["n1", "n2"]) expect(peakBytes(name)).toBeLessThan(NODE_BYTES_MAX);
  expect(peakBytes("n3")).toBeLessThan(DOOR_BYTES_MAX);
  for (const name of fleet.names) expect(fleet.process(name).transcript()).not.toContain('"net.peer-down"');
});

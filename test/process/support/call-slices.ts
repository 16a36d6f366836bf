// Owns: slices made by hand for tests of calls, and a fleet whose nodes each have a label of their own, so that a test
// says where what runs.
import { expect } from "vitest";
import { z } from "zod";
import { encodeArchive } from "../../../src/slices/core/archive.ts";
import type { Manifest, ManifestMethod, ManifestUse } from "../../../src/slices/core/manifest.ts";
import { ask, eventually, type FleetOptions, NodeFleet } from "../../support/node-fleet.ts";
import { sampleManifest } from "../../unit/slices-build/sample-artifacts.ts";

export interface HandmadeMethod {
  readonly effect: ManifestMethod["effect"];
  readonly handler: string;
  readonly timeoutMs?: number;
}

/** A slice as JavaScript: its methods with their effect and the text of their handlers. */
export interface HandmadeSlice {
  readonly artifact: string;
  readonly methods: Readonly<Record<string, HandmadeMethod>>;
  /** By alias: the slice that is called, and its methods. */
  readonly uses?: Readonly<Record<string, ManifestUse & { readonly methods: Readonly<Record<string, string>> }>>;
  /** Methods by the topics that they handle. */
  readonly on?: Readonly<Record<string, string>>;
  readonly schedules?: Manifest["schedules"];
  /** Methods by their HTTP routes. */
  readonly routes?: Manifest["routes"];
  /** Text in front, and further fields of the definition. */
  readonly head?: string;
  readonly rest?: string;
}

const TIMEOUT_MS = 5_000;

export function sliceName({ artifact }: HandmadeSlice): string {
  return artifact.split(":")[1] ?? "";
}

/** Schemas that take everything but a number below zero. */
function sourceOf(slice: HandmadeSlice): string {
  const methods = Object.entries(slice.methods);
  const uses = Object.entries(slice.uses ?? {});
  const entry = (name: string, effect: string, timeoutMs = TIMEOUT_MS): string =>
    `${name}: { input: any, output: any, effect: "${effect}", timeoutMs: ${timeoutMs} }`;
  const own = methods.map(([name, { effect, timeoutMs }]) => entry(name, effect, timeoutMs));
  const contract = (name: string, entries: readonly string[]): string =>
    `{ name: "${name}", methods: { ${entries.join(", ")} } }`;
  return `
const parse = (data) => data < 0
  ? { success: false, error: { issues: [{ path: [], message: "below zero" }] } }
  : { success: true, data };
const any = { safeParse: parse, safeParseAsync: async (data) => parse(data) };
const sleep = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
});
${slice.head ?? ""}
export default {
  contract: ${contract(sliceName(slice), own)},
  uses: { ${uses.map(([alias, { slice: name, methods: used }]) => {
    return `${alias}: ${contract(name, Object.entries(used).map(([called, effect]) => entry(called, effect)))}`;
  }).join(", ")} },
  methods: { ${methods.map(([name, { handler }]) => `${name}: ${handler}`).join(",\n")} },
  ${slice.rest ?? ""}
};`;
}

function archiveOf(slice: HandmadeSlice): Uint8Array<ArrayBuffer> {
  const bundle = new TextEncoder().encode(sourceOf(slice));
  const manifest = sampleManifest({
    artifact: slice.artifact,
    bundle,
    uses: Object.fromEntries(Object.entries(slice.uses ?? {}).map(([alias, { slice: name, artifact }]) =>
      [alias, { slice: name, ...(artifact === undefined ? {} : { artifact }) }])),
  });
  const methods = Object.entries(slice.methods).map(([name, { effect, timeoutMs = TIMEOUT_MS }]) =>
    [name, { effect, timeoutMs, input: {}, output: {} }] as const);
  const topics = slice.on === undefined ? {} : { on: slice.on };
  const schedules = slice.schedules === undefined ? {} : { schedules: slice.schedules };
  const routes = slice.routes === undefined ? {} : { routes: slice.routes };
  const whole = { ...manifest, methods: Object.fromEntries(methods), ...topics, ...schedules, ...routes };
  return new Uint8Array(encodeArchive(whole, bundle));
}

/** Three nodes; each has the label `name`, and `side`: the last one calls, the others are hosts. */
export async function createLabelledFleet(options: FleetOptions = {}): Promise<NodeFleet> {
  const fleet = await NodeFleet.create(options);
  const started = await Promise.all(fleet.names.map((name) => {
    const side = name === fleet.names.at(-1) ? "caller" : "host";
    return fleet.launch(name, { labels: { name, side } });
  }));
  await Promise.all(started.map((node) => node.ready()));
  return fleet;
}

export async function pushSlice(fleet: NodeFleet, slice: HandmadeSlice): Promise<void> {
  const raw = archiveOf(slice);
  const answer = await ask(`${fleet.api("n1")}/v1/artifacts/${slice.artifact}`, { method: "PUT", raw });
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

export async function applySlices(
  fleet: NodeFleet, slices: Readonly<Record<string, Readonly<Record<string, unknown>>>>, name = "calls",
): Promise<void> {
  const answer = await ask(`${fleet.api("n1")}/v1/blueprints/${name}`, { method: "PUT", body: { slices } });
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

/** The error of an answer; an empty one when it is none. */
const errorAnswer = z
  .object({
    error: z.object({
      code: z.string(), outcome: z.string().optional(), details: z.record(z.string(), z.unknown()).optional(),
    }),
  })
  .transform(({ error }) => error)
  .catch({ code: "" });

/** A call over HTTP: its status, its output, or its error. */
export async function callOver(
  fleet: NodeFleet, node: string, path: string, body: unknown = {}, deadlineMs: number | "none" = 5_000,
): Promise<{ readonly status: number; readonly output: unknown; readonly error: z.output<typeof errorAnswer> }> {
  const headers: Record<string, string> = deadlineMs === "none" ? {} : { "x-deadline-ms": String(deadlineMs) };
  const answer = await ask(`${fleet.api(node)}/v1/call/${path}`, { method: "POST", body, headers });
  return { status: answer.status, output: answer.body, error: errorAnswer.parse(answer.body) };
}

/** Until each node finds an instance. */
export async function untilServed(fleet: NodeFleet, path: string, body: unknown = {}): Promise<void> {
  for (const node of fleet.names) {
    await eventually(`${path} answers ${node}`, async () =>
      (await callOver(fleet, node, path, body)).status === 200 || undefined);
  }
}

// Slow. Every node is restarted while clients call: in order one after the other, killed one after the other, and all
// at once. No call fails that a surviving instance could answer, and what is told of each write is true.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { formatKey, parseKey, parseKeyText } from "../../src/kvstore/core/key.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { CallLedger, markingSlice, relayingSlice } from "./support/call-ledger.ts";
import { applySlices, pushSlice, untilServed } from "./support/call-slices.ts";

const SLICES = { pair: 2, trio: 3, relay: 2 } as const;
const NAMES = Object.keys(SLICES);
const INSTANCES = 7;
const BACK_MS_MAX = 30_000;

const entrySchema = z.object({
  key: z.string().transform(parseKeyText), value: z.object({ state: z.string() }).partial(),
});
const pageSchema = z.object({ entries: z.array(entrySchema) });

let fleet: NodeFleet;
let directory: string;
let journal: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "aether-restarts-"));
  journal = join(directory, "writes");
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await pushSlice(fleet, markingSlice("test:pair:1.0.0", journal));
  await pushSlice(fleet, markingSlice("test:trio:1.0.0", journal));
  await pushSlice(fleet, relayingSlice("test:relay:1.0.0", "trio"));
  await applySlices(fleet, Object.fromEntries(Object.entries(SLICES).map(([name, instances]) =>
    [name, { artifact: `test:${name}@^1.0.0`, instances }])));
  for (const name of NAMES) await untilServed(fleet, `${name}/look`);
  await untilAllServe();
});

afterAll(async () => {
  await fleet.close();
  rmSync(directory, { recursive: true, force: true });
});

test("restarts in order, one after the other and twice, fail no call, and each write runs once", async () => {
  const ledger = startCalls();
  await ledger.progress();
  for (const name of [...fleet.names, ...fleet.names]) {
    const { code } = await fleet.process(name).stop("SIGTERM");
    expect(code, fleet.process(name).transcript()).toBe(0);
    await ledger.progress();
    await fleet.start(name);
    await untilAllServe();
    await ledger.progress();
  }
  await ledger.stop();
  tell("restart of each node in order, twice", ledger);
  expect(ledger.failures).toEqual([]);
  await ledger.expectTruth();
});

test("nodes that are killed one after the other fail no read, and what is told of each write is true", async () => {
  const ledger = startCalls();
  await ledger.progress();
  for (const name of fleet.names) {
    await fleet.kill(name);
    await ledger.progress();
    await fleet.start(name);
    await untilAllServe();
    await ledger.progress();
  }
  await ledger.stop();
  tell("kill -9 of each node", ledger);
  expect(ledger.failedLooks).toEqual([]);
  expect(ledger.refusedMarks).toEqual([]);
  await ledger.expectTruth();
});

test("nodes that are killed all at once serve again within 30 s; what was told of each write is true", async () => {
  const ledger = startCalls();
  await ledger.progress();
  await fleet.kill(...fleet.names);
  const startedAtMs = Date.now();
  await fleet.startAll();
  await untilAllServe();
  const backMs = Date.now() - startedAtMs;
  await ledger.progress();
  await ledger.stop();
  tell(`kill -9 of all nodes at once: ${INSTANCES} instances active after ${backMs} ms`, ledger);
  expect(backMs).toBeLessThan(BACK_MS_MAX);
  await ledger.expectTruth();
});

test("nodes that are stopped all at once serve again within 30 s; what was told of each write is true", async () => {
  const ledger = startCalls();
  await ledger.progress();
  await Promise.all(fleet.names.map((name) => fleet.process(name).stop("SIGTERM")));
  const startedAtMs = Date.now();
  await fleet.startAll();
  await untilAllServe();
  const backMs = Date.now() - startedAtMs;
  await ledger.progress();
  await ledger.stop();
  tell(`SIGTERM of all nodes at once: ${INSTANCES} instances active after ${backMs} ms`, ledger);
  expect(backMs).toBeLessThan(BACK_MS_MAX);
  await ledger.expectTruth();
});

function startCalls(): CallLedger {
  const ledger = new CallLedger(fleet, NAMES, journal);
  onTestFinished(() => ledger.stop());
  return ledger;
}

function tell(what: string, ledger: CallLedger): void {
  process.stdout.write(`${what}: ${ledger.summary}\n`);
}

/** Until as many instances as are wanted are ACTIVE, each with its endpoints, and nothing else is there. */
async function untilAllServe(): Promise<void> {
  await eventually("every instance is active, and has its endpoints", async () => {
    const rows = await entriesOf("slices/");
    const states = rows.map(({ value }) => value.state);
    expect(states).toEqual(Array.from({ length: INSTANCES }, () => "ACTIVE"));
    const wanted = rows.flatMap(({ key }) => ["look", "mark"].map((method) => endpointOf(key, method)));
    const found = (await entriesOf("endpoints/")).map(({ key }) => key);
    expect(found.sort()).toEqual(wanted.sort());
    return true;
  }, BACK_MS_MAX);
}

function endpointOf(text: string, method: string): string {
  const key = parseKey(parseKeyText(text));
  if (key.kind !== "slice") throw new Error(`${text} is no instance`);
  const { node, artifact, instance } = key;
  const slice = artifact.split(":")[1] ?? "";
  return formatKey({ kind: "endpoint", slice, method, node, artifact, instance });
}

async function entriesOf(prefix: string): Promise<z.output<typeof pageSchema>["entries"]> {
  const { body } = await ask(`${fleet.api("n1")}/v1/kv?prefix=${prefix}`);
  return pageSchema.parse(body).entries;
}

// Slow. Jobs with values of many MiB on real nodes, one of which is killed while it has them.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, afterAll, expect, test } from "vitest";
import { z } from "zod";
import { KiB, MiB } from "../../src/base/units.ts";
import { connect } from "../../src/client/connect.ts";
import { defineAgent } from "../../src/sdk/agent.ts";
import { defineSignal } from "../../src/sdk/signal.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const LENGTH = 20 * MiB;
/** What a node may take beside what it has without any job: some payloads, and what the store keeps of them. */
const RSS_GROWTH_MAX = 900 * MiB;
const shownSchema = z.object({
  status: z.string(), steps: z.int(), owner: z.string().optional(),
  result: z.object({ blob: z.object({ bytes: z.int() }) }).optional(),
});
const endedSchema = z.object({ kind: z.literal("completed"), output: z.object({ text: z.string() }) });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "payloads", { heapBytesMax: 256 * MiB });
});

afterAll(() => fleet.close());

async function shown(via: string, job: string): Promise<z.output<typeof shownSchema>> {
  const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}`);
  return shownSchema.parse(body);
}

async function rssOf(name: string): Promise<number> {
  const status = await readFile(`/proc/${fleet.process(name).pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * KiB;
}

test("values of 20 MiB survive the death of their node, and no node grows without end", async () => {
  const before = await Promise.all(fleet.names.map(rssOf));
  const { job } = await startJob(fleet, "n1", { agent: "carrying", input: { length: LENGTH } });
  const owner = await eventually("its first step is stored, and it goes on", async () => {
    const { owner: node, steps } = await shown("n2", job);
    return steps === 1 ? node : undefined;
  }, 60_000);
  await fleet.kill(owner);
  const others = fleet.names.filter((name) => name !== owner);
  const [via = ""] = others;
  const told = await ask(`${fleet.api(via)}/v1/jobs/${job}/signals/go`, { method: "POST", body: {} });
  expect(told.status, JSON.stringify(told.body)).toBe(202);
  const { output: { text } } = endedSchema.parse(await resultOf(fleet, via, job, 90_000));
  expect(text.length).toBe(LENGTH + 6);
  expect(text.startsWith("first second ") && text.slice(6).startsWith("second ")).toBe(true);
  expect((await shown(via, job)).result?.blob.bytes).toBeGreaterThan(LENGTH);
  const grown = await Promise.all(others.map(async (name) =>
    (await rssOf(name)) - (before[fleet.names.indexOf(name)] ?? 0)));
  console.log(`RSS grew by ${grown.map((bytes) => Math.round(bytes / MiB)).join(", ")} MiB`);
  for (const bytes of grown) expect(bytes).toBeLessThan(RSS_GROWTH_MAX);
  await fleet.start(owner);
}, 180_000);

const go = defineSignal("go", z.object({ text: z.string() }));
/** As clients know it. */
const carrying = defineAgent({
  name: "carrying", input: z.object({ length: z.int(), text: z.string() }), signals: [go],
  output: z.object({ inputLength: z.int(), toldLength: z.int() }),
  run: async () => expect.unreachable(),
});
const FAR = 3 * MiB;
const TOO_FAR = 5 * MiB;

test("inputs and signals of some MiB come through client, HTTP and command line, and larger ones nowhere", async () => {
  const file = join(fleet.directory, "told.json");
  const client = connect({ nodes: fleet.apis });
  const agent = client.agent(carrying);
  const input = { length: 1, text: "i".repeat(FAR) };
  const told = { text: "s".repeat(FAR) };
  await writeFile(file, JSON.stringify(input));
  const byClient = await agent.start(input);
  const byHttp = await startJob(fleet, "n2", { agent: "carrying", input });
  const { stdout: [byCommand = ""] } = await fleet.command("n3", "job", "start", "carrying", `@${file}`);
  await writeFile(file, JSON.stringify(told));
  await byClient.signal(go, told);
  const sent = await ask(`${fleet.api("n2")}/v1/jobs/${byHttp.job}/signals/go`, { method: "POST", body: told });
  expect(sent.status).toBe(202);
  await fleet.command("n3", "job", "signal", byCommand, "go", `@${file}`);
  const lengths = { inputLength: FAR, toldLength: FAR };
  expect(await byClient.result({ timeoutMs: 60_000 })).toMatchObject(lengths);
  for (const job of [byHttp.job, byCommand]) {
    expect(await resultOf(fleet, "n1", job)).toMatchObject({ kind: "completed", output: lengths });
  }
  const large = { length: 1, text: "i".repeat(TOO_FAR) };
  await writeFile(file, JSON.stringify(large));
  await expect(agent.start(large)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
  await expect(byClient.signal(go, large)).rejects.toMatchObject({ code: "E_TOO_LARGE" });
  const body = { agent: "carrying", input: large };
  const refused = await ask(`${fleet.api("n2")}/v1/jobs`, { method: "POST", body });
  expect([refused.status, refused.body]).toMatchObject([413, { error: { code: "E_TOO_LARGE" } }]);
  const run = fleet.run(["job", "start", "carrying", `@${file}`, "--api", fleet.api("n1")]);
  expect((await run.waitForEnd()).code).toBe(1);
  expect(run.transcript()).toContain("E_TOO_LARGE");
  client.close();
}, 120_000);

test("a cluster that begins with a backup has the large values of its jobs, in files too", async () => {
  const file = join(fleet.directory, "stored.json");
  const stored = { text: "s".repeat(MiB) };
  await writeFile(file, JSON.stringify(stored));
  await startJob(fleet, "n1", { agent: "carrying", id: "stored-1", input: { length: MiB, text: "i".repeat(MiB) } });
  await eventually("it waits", async () => (await shown("n1", "stored-1")).status === "waiting" || undefined, 60_000);
  const folder = join(fleet.directory, "backup");
  await fleet.command("n2", "cluster", "backup", folder);

  const fresh = await NodeFleet.open({ names: ["n1"], cluster: "fresh" });
  const restore = fresh.run(["cluster", "restore", folder, "--data-dir", fresh.dataDir("n1"), "--cluster", "fresh"]);
  expect((await restore.waitForEnd()).code, restore.transcript()).toBe(0);
  await fresh.startAll();
  await fresh.command("n1", "job", "signal", "stored-1", "go", `@${file}`);
  await fresh.command("n1", "job", "release", "stored-1");
  const result = { kind: "completed", output: { inputLength: MiB, toldLength: MiB } };
  expect(await resultOf(fresh, "n1", "stored-1", 60_000)).toMatchObject(result);

  const lines = join(fresh.directory, "stored-1.jsonl");
  await fresh.command("n1", "job", "export", "stored-1", "--out", lines);
  const verify = async (): Promise<string> => {
    const run = fresh.run(["job", "verify", lines, "--api", "http://127.0.0.1:1"]);
    return `${(await run.waitForEnd()).code}: ${run.transcript()}`;
  };
  expect(await verify()).toMatch(/^0: .*job stored-1 is whole/s);
  const text = await readFile(lines, "utf8");
  const [line = ""] = text.split("\n").filter((one) => one.startsWith('{"kind":"payload"')).slice(2);
  const digest = /"digest":"([0-9a-f]{64})"/.exec(line)?.[1] ?? "";
  const at = text.indexOf(line) + line.length - 40;
  await writeFile(lines, `${text.slice(0, at)}${text[at] === "A" ? "B" : "A"}${text.slice(at + 1)}`);
  expect(await verify()).toMatch(new RegExp(`^1: .*BROKEN from event \\d+ on: the payload ${digest}`, "s"));
}, 120_000);

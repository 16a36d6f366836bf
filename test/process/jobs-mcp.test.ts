// Slow. Agents on real nodes whose tools are those of an MCP server, a process that their worker starts: whatever dies
// in mid-call, a call is made once, somebody says what became of it, and no process is left behind.
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { isRunning } from "../support/running-process.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const PROGRAM = fileURLToPath(new URL("../support/mcp-server.mjs", import.meta.url));
const KEY = "key-0123456789-abcdefghij";

const noteSchema = z.object({ pid: z.int(), paid: z.string().optional(), effectId: z.string().optional() });
type Note = z.output<typeof noteSchema>;
const shownSchema = z.object({
  owner: z.string().optional(), status: z.string(), tools: z.array(z.looseObject({ effectId: z.string() })),
});

const resultSchema = z.object({ output: z.object({ pid: z.int() }) });

let fleet: NodeFleet;
let outside: string;

beforeAll(async () => {
  fleet = await NodeFleet.create({
    config: { secrets: { "bank-key": { variable: "BANK_KEY" } } },
    launchOf: () => ({ variables: { BANK_KEY: KEY } }),
  });
  outside = join(fleet.directory, "outside");
  await fleet.startAll();
  const variables = { MCP_NODE: process.execPath, MCP_PROGRAM: PROGRAM, MCP_OUTSIDE: outside };
  await applyAgents(fleet, "banker", { variables });
});

afterAll(() => fleet.close());

function notes(): readonly Note[] {
  try {
    const lines = readFileSync(outside, "utf8").trim().split("\n");
    return lines.map((line) => noteSchema.parse(JSON.parse(line)));
  } catch {
    // No server has begun yet, or its line is half written.
    return [];
  }
}

const paid = (order: string): readonly Note[] => notes().filter((note) => note.paid === order);

async function start(via: string, input: unknown): Promise<string> {
  return (await startJob(fleet, via, { agent: "banker", input })).job;
}

async function shown(via: string, job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(`${fleet.api(via)}/v1/jobs/${job}`)).body);
}

async function ownerOf(job: string): Promise<string> {
  return await eventually("it has an owner", async () => (await shown("n1", job)).owner);
}

test("tools of a server are tools of the ledger, with the effect id on their way", async () => {
  const job = await start("n1", { order: "o-1" });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { receipt: "r-o-1" } });
  const { tools } = await shown("n3", job);
  expect(tools).toMatchObject([{ tool: "noise" }, { tool: "pay", state: "succeeded" }, { tool: "pid" }]);
  expect(paid("o-1").map(({ effectId }) => effectId)).toEqual([tools[1]?.effectId]);
});

test("jobs of one node share a server", async () => {
  const jobs = await Promise.all(["s-1", "s-2", "s-3", "s-4"].map((order) => start("n1", { order, then: "slow" })));
  const results = await Promise.all(jobs.map((job) => resultOf(fleet, "n1", job)));
  const pids = results.map((result) => resultSchema.parse(result).output.pid);
  expect(new Set(pids).size).toBeLessThanOrEqual(fleet.names.length);
  expect(notes().filter(({ paid: order }) => order?.startsWith("s-") === true)).toHaveLength(4);
});

test("a server that dies in mid-call leaves its call to a person", async () => {
  const job = await start("n1", { order: "d-1", then: "dies" });
  await eventually("it waits for a person", async () =>
    JSON.stringify((await ask(`${fleet.api("n2")}/v1/jobs/${job}`)).body).includes('"unknown"') || undefined);
  await fleet.command("n3", "job", "resolve", job, "pay#1", "--done", '{"receipt": "by hand"}');
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { receipt: "by hand" } });
  expect(paid("d-1")).toHaveLength(1);
});

test("a server that dies in mid-call is asked what it did, once it is there again", async () => {
  const job = await start("n1", { order: "d-2", then: "dies", isSure: true });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { receipt: "r-d-2" } });
  expect(paid("d-2")).toHaveLength(1);
});

test("the owner is killed in mid-call: its server ends, and another node's is asked what it did", async () => {
  const job = await start("n1", { order: "k-1", then: "hangs", isSure: true });
  const { pid } = await eventually("the server was called", () => paid("k-1")[0]);
  const owner = await ownerOf(job);
  await fleet.kill(owner);
  await eventually("its server has ended", () => !isRunning(pid) || undefined);
  const via = fleet.names.find((name) => name !== owner) ?? "";
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed", output: { receipt: "r-k-1" } });
  expect(paid("k-1")).toHaveLength(1);
  await fleet.start(owner);
});

test("keys are in no event, row, log line or answer, whatever the server does with them (JOB12)", async () => {
  const job = await start("n1", { order: "b-1", then: "blabs" });
  await eventually("it waits for a person", async () => (await shown("n2", job)).status === "waiting" || undefined);
  const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}/events`);
  expect(JSON.stringify(body)).toContain("the key is [secret bank-key]");
  await eventually("the log has what the server says", async () => {
    const lines = await fleet.command("n1", "slice", "logs", "banker", "--json");
    const text = lines.stdout.join("\n");
    return (text.includes("the key is [secret bank-key]") && text.includes("noise 4")) || undefined;
  });
  await fleet.command("n1", "job", "resolve", job, "pay#1", "--fail", "enough");
  await resultOf(fleet, "n2", job);
});

test("nodes that stop leave no server behind", async () => {
  const pids = [...new Set(notes().map(({ pid }) => pid))];
  expect(pids.some(isRunning)).toBe(true);
  await Promise.all(fleet.names.map((name) => fleet.process(name).stop("SIGTERM")));
  expect(pids.filter(isRunning)).toEqual([]);
  const said = fleet.names.flatMap((name) => [...fleet.process(name).stdout, ...fleet.process(name).stderr]);
  expect(said.filter((line) => line.includes(KEY))).toEqual([]);
  const entries = await readdir(fleet.directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map(async (file) => ((await readFile(file)).includes(KEY) ? [file] : [])));
  expect(found.flat()).toEqual([]);
});

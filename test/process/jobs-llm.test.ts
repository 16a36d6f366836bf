// Slow. Agents that ask models, on real nodes: keys come from the environment and are found nowhere else, a request is
// made again when its node dies, and what failed for now is tried again.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { openAiStream, openLlmStub, type LlmStub } from "../support/llm-stub.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const KEY = "sk-0123456789-abcdefghij";
const CENTS = openAiStream(['{"cents"', ":1200}"], { usage: [31, 7] });

const shownSchema = z.object({ owner: z.string() });
const eventsSchema = z.object({ events: z.array(z.object({ type: z.string(), data: z.unknown() })) });

let stub: LlmStub;
let fleet: NodeFleet;

beforeAll(async () => {
  stub = await openLlmStub();
  fleet = await NodeFleet.create({
    config: { secrets: { "llm-key": { variable: "LLM_KEY" }, "not-there": { variable: "NOT_SET" } } },
    launchOf: () => ({ variables: { LLM_KEY: KEY } }),
  });
  await fleet.startAll();
  await applyAgents(fleet, "asker", { variables: { LLM_URL: stub.url } });
});

afterAll(async () => {
  await fleet.close();
  stub.close();
});

async function start(via: string, input: unknown, agent = "asker"): Promise<string> {
  return (await startJob(fleet, via, { agent, input })).job;
}

async function grantsOf(via: string, job: string): Promise<readonly unknown[]> {
  const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}/events`);
  return eventsSchema.parse(body).events.flatMap(({ type, data }) => (type === "tool.granted" ? [data] : []));
}

test("a model is asked with the key of its node, and the log says what it was asked and what it cost", async () => {
  stub.answer({ body: CENTS });
  const job = await start("n1", { question: "how much?" });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { cents: 1200 } });
  expect(stub.requests.at(-1)?.headers.authorization).toBe(`Bearer ${KEY}`);
  const trace = await fleet.command("n3", "job", "trace", job);
  expect(trace.stdout.join("\n")).toMatch(/tool llm\.fast#1 = "\{.*1200\}" \(stub-1, 31 tokens in, 7 out\)/);
  const { body } = await ask(`${fleet.api("n3")}/v1/jobs/${job}`);
  expect(body).toMatchObject({ tools: [{ tool: "llm.fast", usage: { model: "stub-1", outputTokens: 7 } }] });
});

test("what was refused for now is asked again after the time that the model says", async () => {
  const before = stub.requests.length;
  stub.answer({ status: 429, headers: { "retry-after": "1" } }, { body: CENTS, cutAfter: 40 }, { body: CENTS });
  const job = await start("n1", { question: "how much?" });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "completed", output: { cents: 1200 } });
  expect(stub.requests).toHaveLength(before + 3);
  expect(await grantsOf("n2", job)).toMatchObject(
    ["llm.fast#1", "llm.fast#1/again#1", "llm.fast#1/again#2"].map((call) => ({ call })),
  );
});

test("the owner is killed while a model answers: it is asked once more by another node", async () => {
  const before = stub.requests.length;
  stub.answer({ hangs: true }, { body: CENTS });
  const job = await start("n2", { question: "how much?" });
  await eventually("the model was asked", () => stub.requests[before]);
  const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
  const { owner } = shownSchema.parse(body);
  await fleet.kill(owner);
  const via = fleet.names.find((name) => name !== owner) ?? "";
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed", output: { cents: 1200 } });
  expect(stub.requests).toHaveLength(before + 2);
  expect(await grantsOf(via, job)).toMatchObject([
    { call: "llm.fast#1", attempt: 1 }, { call: "llm.fast#1", attempt: 2 },
  ]);
  await fleet.start(owner);
});

test("what a model says is shown while it says it", async () => {
  const before = stub.requests.length;
  stub.answer({ hangs: true }, { body: CENTS, pace: { bytes: 20, everyMs: 20 } });
  const job = await start("n1", { question: "how much?" });
  await eventually("the model was asked", () => stub.requests[before]);
  const { body } = await ask(`${fleet.api("n2")}/v1/jobs/${job}`);
  const { owner } = shownSchema.parse(body);
  const via = fleet.names.find((name) => name !== owner) ?? "";
  const stream = fleet.run(["job", "stream", job, "--json", "--api", fleet.api(via)]);
  await eventually("the stream has begun", () => stream.stdout[0]);
  // The model is asked again where the job goes on.
  await fleet.kill(owner);
  expect((await stream.waitForEnd()).code, stream.transcript()).toBe(0);
  expect(stream.stdout.join("\n")).toMatch(/llm-token.*\{\\"cents\\"/);
  await fleet.start(owner);
});

test("a service outside is sent one request, though its caller dies while it acts", async () => {
  const before = stub.requests.length;
  stub.answer({ hangs: true }, { body: '{"status":"done","result":{"parcel":"p-1"}}' });
  const job = await start("n1", { order: "o-1" }, "shipper");
  await eventually("it was asked to ship", () => stub.requests[before]);
  const { body } = await ask(`${fleet.api("n1")}/v1/jobs/${job}`);
  const { owner } = shownSchema.parse(body);
  await fleet.kill(owner);
  const via = fleet.names.find((name) => name !== owner) ?? "";
  expect(await resultOf(fleet, via, job)).toMatchObject({ kind: "completed", output: { parcel: "p-1" } });
  expect(stub.requests.slice(before).map(({ path }) => path)).toEqual(["/ship", "/find"]);
  const [first, second] = stub.requests.slice(before);
  expect(second?.headers["idempotency-key"]).toBe(first?.headers["idempotency-key"]);
  await fleet.start(owner);
});

test("a cancel ends a job that waits to ask its model again", async () => {
  const before = stub.requests.length;
  stub.answer({ status: 503, headers: { "retry-after": "600" } });
  const job = await start("n1", { question: "how much?" });
  await eventually("the model was asked", () => stub.requests[before]);
  await ask(`${fleet.api("n3")}/v1/jobs/${job}/cancel`, { method: "POST" });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "cancelled" });
  expect(stub.requests).toHaveLength(before + 1);
});

test("a cancel ends the request to a model that is under way", async () => {
  const before = stub.requests.length;
  const left = stub.left.count;
  stub.answer({ hangs: true });
  const job = await start("n1", { question: "how much?" });
  await eventually("the model was asked", () => stub.requests[before]);
  await ask(`${fleet.api("n3")}/v1/jobs/${job}/cancel`, { method: "POST" });
  expect(await resultOf(fleet, "n2", job)).toMatchObject({ kind: "cancelled" });
  await eventually("the connection is closed", () => stub.left.count > left || undefined);
  expect(stub.requests).toHaveLength(before + 1);
});

test("keys are in no event, row, log line or answer, whatever a tool does with them (JOB12)", async () => {
  stub.answer({ status: 401, body: JSON.stringify({ error: { message: `Incorrect API key provided: ${KEY}` } }) });
  const refused = await start("n1", { question: "how much?", blabs: true });
  expect(await resultOf(fleet, "n2", refused)).toMatchObject({
    kind: "failed",
    error: { code: "E_UNAUTHENTICATED", message: expect.stringContaining("[secret llm-key]") as unknown },
  });
  stub.answer({ body: CENTS });
  const job = await start("n2", { question: "how much?", blabs: true });
  expect(await resultOf(fleet, "n3", job)).toMatchObject({ kind: "completed", output: { said: [
    '{"header":"Bearer [secret llm-key]"}',
    "cannot pay with [secret llm-key]",
    expect.stringMatching(/absent#1 was not made: .* has no secret "not-there"/),
  ] } });
  const file = join(fleet.directory, "exported-job");
  await fleet.command("n1", "job", "export", job, "--out", file);
  await fleet.command("n1", "job", "verify", file);
  await fleet.command("n1", "job", "verify", job);
  const lines = await fleet.command("n1", "slice", "logs", "asker", "--json");
  expect(lines.stdout.join("\n")).toContain("the key is [secret llm-key]");
  const warned = fleet.names.flatMap((name) => fleet.process(name).logged("node.secret-unusable"));
  expect(warned[0]).toMatchObject({ secret: "not-there", variable: "NOT_SET", reason: "the variable is not set" });
  await Promise.all(fleet.names.map((name) => fleet.process(name).stop("SIGTERM")));
  const places = fleet.names.flatMap((name) => {
    const { stdout, stderr } = fleet.process(name);
    return [...stdout, ...stderr].filter((line) => line.includes(KEY));
  });
  expect(places).toEqual([]);
  expect(await filesWith(fleet.directory, "blab#1")).not.toEqual([]);
  expect(await filesWith(fleet.directory, KEY)).toEqual([]);
});

/** The files below a directory that have this text in them. */
async function filesWith(directory: string, text: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const found = await Promise.all(files.map(async (file) => ((await readFile(file)).includes(text) ? [file] : [])));
  return found.flat();
}

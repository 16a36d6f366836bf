// Slow. What a real node is told about jobs that is malformed, huge, of something that is not there, or not possible in
// the state of the job: refused with a stable code and what to do, and not a row of any job has changed.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet, type Answer } from "../support/node-fleet.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

/** What jobs are; that an owner lives changes beside them. */
const PREFIXES = [
  "jobs/", "job-data/", "job-inbox/", "job-queue/", "job-timers/", "job-owned/", "job-starts/", "job-agents/",
  "job-ends/", "job-approvals/", "job-children/", "job-outbox/", "job-pins/",
];
/** Nobody listens there: whoever asks gets no answer, and nobody knows what became of the call. */
const NOBODY = "http://127.0.0.1:1";
const NO_DIGEST = "0".repeat(64);

const refusalSchema = z.object({ error: z.object({ code: z.string(), message: z.string().min(20).max(2_000) }) });
const pageSchema = z.object({
  entries: z.array(z.object({ key: z.string(), modRevision: z.number() })), more: z.boolean(),
});
const shownSchema = z.object({
  status: z.string(),
  waiting: z.object({ reason: z.string() }).optional(),
  tools: z.array(z.object({ effectId: z.string(), state: z.string() })),
});

let fleet: NodeFleet;
let directory: string;
/** The effect id of the call that nobody knows about. */
let doubt: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-bad-jobs-"));
  fleet = await NodeFleet.create({ names: ["n1"] });
  await fleet.startAll();
  await applyAgents(fleet, "doubtful");
  await applyAgents(fleet, "approving");
  await startJob(fleet, "n1", { agent: "doubtful", input: { url: NOBODY }, id: "waits" });
  await startJob(fleet, "n1", { agent: "doubtful", input: { url: NOBODY }, id: "doubts" }, { "idempotency-key": "k1" });
  await startJob(fleet, "n1", { agent: "approving", input: { cents: 7 }, id: "asks" });
  await startJob(fleet, "n1", { agent: "approving", input: { cents: 8 }, id: "done" });
  await startJob(fleet, "n1", { agent: "doubtful", input: { url: NOBODY }, id: "cancelled" });
  await untilWaiting("asks", "approval");
  await untilWaiting("done", "approval");
  await untilWaiting("waits", "signal");
  await post("jobs/doubts/signals/go", { by: "ann" });
  await post("jobs/done/approvals/manager", { approved: true });
  await post("jobs/cancelled/cancel");
  await resultOf(fleet, "n1", "done");
  await resultOf(fleet, "n1", "cancelled");
  doubt = await eventually("a call is in doubt", async () => (await shown("doubts")).tools.find(({ state }) =>
    state === "unknown")?.effectId);
  await untilWaiting("doubts", "unknown");
});

afterAll(async () => {
  await fleet.close();
  await rm(directory, { recursive: true, force: true });
});

function url(path: string): string {
  return `${fleet.api("n1")}/v1/${path}`;
}

async function post(path: string, body: unknown = {}): Promise<void> {
  const answer = await ask(url(path), { method: "POST", body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(202);
}

async function shown(job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(url(`jobs/${job}`))).body);
}

async function untilWaiting(job: string, reason: string): Promise<void> {
  await eventually(`job ${job} waits for ${reason}`, async () =>
    (await shown(job)).waiting?.reason === reason || undefined);
}

async function stored(): Promise<readonly string[]> {
  const pages = await Promise.all(PREFIXES.map(async (prefix) =>
    pageSchema.parse((await ask(url(`kv?prefix=${prefix}&limit=1000`))).body)));
  expect(pages.some(({ more }) => more)).toBe(false);
  return pages.flatMap(({ entries }) => entries.map(({ key, modRevision }) => `${key} ${modRevision}`));
}

async function expectRefused(send: () => Promise<Answer>, code: string, words: string): Promise<void> {
  const before = await stored();
  expect(before.length).toBeGreaterThan(20);
  const answer = await send();
  const { error } = refusalSchema.parse(answer.body);
  expect(answer.status, JSON.stringify(error)).toBeGreaterThanOrEqual(400);
  expect(answer.status, JSON.stringify(error)).toBeLessThan(500);
  expect(error).toMatchObject({ code });
  expect(error.message).toContain(words);
  expect(await stored()).toEqual(before);
}

type Refusal = readonly [what: string, path: string, body: unknown, code: string, words: string];

describe("a start is refused", () => {
  const input = { url: NOBODY };

  test.each<readonly [what: string, body: unknown, code: string, words: string]>([
    ["of an agent that there is not", { agent: "nobody", input }, "E_NOT_FOUND", "nobody"],
    ["of an agent that is no name", { agent: "../nobody", input }, "E_INVALID", "agent"],
    ["without an agent", { input }, "E_INVALID", "agent"],
    ["with a field that there is not", { agent: "doubtful", input, prio: 7 }, "E_INVALID", "prio"],
    ["with a wrong input", { agent: "doubtful", input: { url: 7 } }, "E_INVALID", "url"],
    ["with an id that is none", { agent: "doubtful", input, id: "a/b" }, "E_INVALID", "id"],
    ["with the id of another job", { agent: "approving", input: { cents: 7 }, id: "done" }, "E_CONFLICT", "done"],
    ["with a priority beyond all", { agent: "doubtful", input, priority: 1e9 }, "E_INVALID", "priority"],
    ["of a class that there is not", { agent: "doubtful", input, queueClass: "urgent" }, "E_INVALID", "queueClass"],
    ["for a time that is none", { agent: "doubtful", input, maxDuration: "soon" }, "E_INVALID", "soon"],
    ["with too many attributes", {
      agent: "doubtful", input, attributes: Object.fromEntries(Array.from({ length: 99 }, (_, at) => [`a${at}`, ""])),
    }, "E_INVALID", "attributes"],
    ["with an attribute that is no name", { agent: "doubtful", input, attributes: { "": "x" } }, "E_INVALID",
      "attribute"],
  ])("%s", async (_what, body, code, words) => {
    await expectRefused(() => ask(url("jobs"), { method: "POST", body }), code, words);
  });

  test("with the key of a start with another input", async () => {
    const body = { agent: "doubtful", input: { url: "http://127.0.0.1:2" } };
    const headers = { "idempotency-key": "k1" };
    await expectRefused(() => ask(url("jobs"), { method: "POST", body, headers }), "E_CONFLICT", "key");
  });

  test.each([["{", "JSON"], ["[]", "start"], ["", "JSON"]])("whose body is %o", async (text, words) => {
    const raw = Buffer.from(text);
    await expectRefused(() => ask(url("jobs"), { method: "POST", raw }), "E_INVALID", words);
  });
});

describe("a job is not told", () => {
  test.each<Refusal>([
    ["a signal, where there is no such job", "jobs/nobody/signals/go", { by: "x" }, "E_NOT_FOUND", "nobody"],
    ["a signal that its agent does not have", "jobs/waits/signals/gone", { by: "x" }, "E_INVALID", "go"],
    ["a signal of a wrong form", "jobs/waits/signals/go", { by: 7 }, "E_INVALID", "by"],
    ["a signal when it has ended", "jobs/done/signals/go", {}, "E_CONFLICT", "done"],
    ["to end, where there is no such job", "jobs/nobody/cancel", {}, "E_NOT_FOUND", "nobody"],
    ["to end when it has ended", "jobs/done/cancel", {}, "E_CONFLICT", "done"],
    ["to go on when nothing holds it", "jobs/waits/release", {}, "E_CONFLICT", "waits"],
    ["a decision that it did not ask for", "jobs/asks/approvals/boss", { approved: true }, "E_NOT_FOUND", "boss"],
    ["a decision when it asks nothing", "jobs/waits/approvals/manager", { approved: true }, "E_NOT_FOUND", "manager"],
    ["a second decision", "jobs/done/approvals/manager", { approved: false }, "E_CONFLICT", "manager"],
    ["a decision about something else", "jobs/asks/approvals/manager", { approved: true, shown: NO_DIGEST },
      "E_CONFLICT", "manager"],
    ["a decision that says neither yes nor no", "jobs/asks/approvals/manager", { approved: "yes" }, "E_INVALID",
      "approved"],
    ["who has decided", "jobs/asks/approvals/manager", { approved: true, by: "the boss" }, "E_INVALID", "by"],
    ["what became of a call that it has not made", `jobs/doubts/tools/${NO_DIGEST}/resolve`, { kind: "not-done" },
      "E_NOT_FOUND", NO_DIGEST],
    ["what became of a call whose id is none", "jobs/doubts/tools/charge/resolve", { kind: "not-done" }, "E_INVALID",
      "charge"],
    ["to be done again while it lives", "jobs/waits/retry", {}, "E_CONFLICT", "waits"],
    ["to be done again when it has done all", "jobs/done/retry", {}, "E_CONFLICT", "done"],
    ["to be done again from a call that it has not made", "jobs/done/fork", { at: "nothing#1" }, "E_NOT_FOUND",
      "nothing#1"],
    ["anything with all of no filter", "jobs/bulk", { action: { kind: "cancel" } }, "E_INVALID", "agent"],
  ])("%s", async (_what, path, body, code, words) => {
    await expectRefused(() => ask(url(path), { method: "POST", body }), code, words);
  });

  test.each([
    [{ kind: "perhaps" }, "kind"], [{ kind: "given-up" }, "reason"], [{ kind: "not-done", result: 7 }, "result"],
  ])("that a call is %o", async (body, words) => {
    const send = () => ask(url(`jobs/doubts/tools/${doubt}/resolve`), { method: "POST", body });
    await expectRefused(send, "E_INVALID", words);
  });

  test("what is too large to be told", async () => {
    const body = { by: "x".repeat(5_000_000) };
    const send = () => ask(url("jobs/waits/signals/go"), { method: "POST", body });
    await expectRefused(send, "E_TOO_LARGE", "bytes");
  });
});

describe("nothing is shown", () => {
  test.each<readonly [what: string, path: string, code: string]>([
    ["of a job that there is not", "jobs/nobody", "E_NOT_FOUND"],
    ["of its events", "jobs/nobody/events", "E_NOT_FOUND"],
    ["of its result", "jobs/nobody/result", "E_NOT_FOUND"],
    ["of its stream", "jobs/nobody/stream", "E_NOT_FOUND"],
    ["of an id that is none", "jobs/..%2f..%2fleader", "E_INVALID"],
    ["of events after a text", "jobs/done/events?after=x", "E_INVALID"],
    ["of a state that there is not", "jobs?status=asleep", "E_INVALID"],
    ["of an attribute without a value", "jobs?attribute=x", "E_INVALID"],
    ["of a page that is too large", "jobs?limit=1000000", "E_INVALID"],
  ])("%s", async (_what, path, code) => {
    await expectRefused(() => ask(url(path)), code, "");
  });

  test("of the export of a job that there is not", async () => {
    await expectRefused(() => ask(url("jobs/nobody/export"), { method: "POST" }), "E_NOT_FOUND", "nobody");
  });
});

describe("a file is not taken for an export", () => {
  test.each([
    ["nothing", ""],
    ["garbage", "\u0000\u0001\u0002\n"],
    ["something else", '{"kind":"order","id":7}\n'],
    ["a line without an end", '{"kind":"job"'],
  ])("that is %s", async (_what, text) => {
    const file = join(directory, "export.jsonl");
    await writeFile(file, text);
    const run = fleet.run(["job", "verify", file]);
    expect((await run.waitForEnd()).code).toBe(1);
    expect(run.transcript()).toContain("E_INVALID");
    expect(run.transcript()).toContain("export");
  });
});

test("after all of it the jobs go on as if nothing had been said", async () => {
  await post("jobs/asks/approvals/manager", { approved: true });
  expect(await resultOf(fleet, "n1", "asks")).toMatchObject({ kind: "completed", output: { approved: true } });
  await post(`jobs/doubts/tools/${doubt}/resolve`, { kind: "done", result: { receipt: "by hand" } });
  const output = { receipt: "by hand", by: "ann" };
  expect(await resultOf(fleet, "n1", "doubts")).toEqual({ kind: "completed", output });
});

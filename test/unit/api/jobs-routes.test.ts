import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseJobId } from "../../../src/base/ids.ts";
import type { CallName } from "../../../src/jobs/core/ids.ts";
import type { ToolRow } from "../../../src/jobs/core/tools/tool-row.ts";
import { askedBy, ownedBy } from "../../support/scripted-jobs.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";

const JOB = parseJobId("refund-17");
const EFFECT = sha256("effect");

let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  await api.close();
});

interface Answer {
  readonly status: number;
  /** Unchecked: each test looks at what it wants of it. */
  readonly body: ReturnType<JSON["parse"]>;
}

/** A text is sent as it is, everything else as JSON. */
async function send(
  method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.json() };
}

function start(id = JOB): Promise<Answer> {
  return send("POST", "/v1/jobs", { agent: "claims", input: { order: "o-1" }, id });
}

function unknownTool(): ToolRow {
  return {
    state: "unknown", effectId: EFFECT, call: "/charge#1" as CallName, tool: "charge", effect: "once",
    canReconcile: false, epoch: 1, attempt: 1, inputDigest: sha256("input"), timeoutMs: 1_000, seq: 3,
    reason: "the node died",
  };
}

describe("starting", () => {
  test("answers 201 for a new job, and 200 for the same again", async () => {
    expect(await start()).toEqual({ status: 201, body: { job: JOB, status: "pending", isNew: true } });
    expect(await start()).toEqual({ status: 200, body: { job: JOB, status: "pending", isNew: false } });
    expect(api.jobs.started).toEqual([{ agent: "claims", input: { order: "o-1" }, id: JOB }]);
  });

  test("hands on key and attributes; who asks comes from the door, not from the body", async () => {
    const body = { agent: "claims", attributes: { region: "eu" } };
    await send("POST", "/v1/jobs", body, { "Idempotency-Key": "k1" });
    expect(api.jobs.started).toEqual([{ ...body, input: null, idempotencyKey: "k1" }]);
    expect(api.jobs.callers).toEqual([{ principal: "anonymous", tenant: "default" }]);
  });

  test("gives a job its place in the queue", async () => {
    await send("POST", "/v1/jobs", { agent: "claims", id: JOB, queueClass: "background", priority: -3 });
    expect((await send("GET", `/v1/jobs/${JOB}`)).body).toMatchObject({ queueClass: "background", priority: -3 });
  });
});

describe("looking at jobs", () => {
  test("lists them with filters and pages", async () => {
    for (const id of ["a", "b", "c"]) {
      await send("POST", "/v1/jobs", { agent: "claims", id, attributes: { region: id === "b" ? "us" : "eu" } });
    }
    const ids = async (query: string): Promise<unknown> => {
      const { jobs, more } = (await send("GET", `/v1/jobs?${query}`)).body;
      return [jobs.map(({ job }: { job: string }) => job), more];
    };
    expect(await ids("limit=2")).toEqual([["c", "b"], true]);
    expect(await ids("after=b")).toEqual([["a"], false]);
    expect(await ids("order=oldest&limit=2")).toEqual([["a", "b"], true]);
    expect(await ids("order=oldest&after=b")).toEqual([["c"], false]);
    expect(await ids("attribute=region%3Deu&status=pending")).toEqual([["c", "a"], false]);
    expect(await ids("agent=other")).toEqual([[], false]);
  });

  test("shows one with its tools and its result", async () => {
    await start();
    api.jobs.change(JOB, ownedBy("n2"));
    api.jobs.addTool(JOB, unknownTool());
    expect((await send("GET", `/v1/jobs/${JOB}`)).body).toMatchObject({
      job: JOB, agent: "claims", status: "running", owner: "n2", input: { order: "o-1" },
      tools: [{ effectId: EFFECT, call: "/charge#1", state: "unknown", reason: "the node died" }],
    });
    api.jobs.end(JOB, { kind: "failed", error: { name: "Error", message: "no such order" } });
    const shown = (await send("GET", `/v1/jobs/${JOB}`)).body;
    expect(shown).toMatchObject({ status: "failed", result: { kind: "failed", error: { message: "no such order" } } });
    expect(shown).not.toHaveProperty("owner");
  });

  test("shows its events in pages", async () => {
    await start();
    api.jobs.addEvents(JOB, [
      { type: "job.created", agent: "claims", pin: sha256("pin"), inputDigest: sha256("x") },
      { type: "step.completed", call: "/load#1" as CallName, value: 5 },
    ]);
    const first = (await send("GET", `/v1/jobs/${JOB}/events?limit=1`)).body;
    expect(first).toMatchObject({ events: [{ seq: 1, type: "job.created" }], more: true });
    const second = (await send("GET", `/v1/jobs/${JOB}/events?after=1`)).body;
    expect(second.events).toEqual([{
      run: 1, seq: 2, type: "step.completed", atMs: expect.any(Number) as number, epoch: 1,
      data: { call: "/load#1", value: 5 }, link: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    }]);
  });

  test("waits for the result as long as it is told to", async () => {
    await start();
    expect(await send("GET", `/v1/jobs/${JOB}/result`)).toEqual({ status: 202, body: { job: JOB } });
    const waiting = send("GET", `/v1/jobs/${JOB}/result?waitMs=60000`);
    api.jobs.end(JOB, { kind: "completed", output: { paid: true } });
    expect(await waiting).toEqual({
      status: 200, body: { job: JOB, result: { kind: "completed", output: { paid: true } } },
    });
  });
});

describe("telling jobs something", () => {
  test("signals carry a payload and a key", async () => {
    await start();
    const path = `/v1/jobs/${JOB}/signals/documents-received`;
    expect(await send("POST", path, { url: "u" }, { "Idempotency-Key": "s1" })).toEqual({
      status: 202, body: { job: JOB, signal: "documents-received" },
    });
    await send("POST", path);
    expect(api.jobs.told).toEqual([
      { kind: "signal", job: JOB, name: "documents-received", payload: { url: "u" }, key: "s1" },
      { kind: "signal", job: JOB, name: "documents-received", payload: null },
    ]);
  });

  test("a job is cancelled once it is there and has not ended", async () => {
    await start();
    expect(await send("POST", `/v1/jobs/${JOB}/cancel`)).toEqual({ status: 202, body: { job: JOB } });
    expect(api.jobs.told).toEqual([{ kind: "cancel", job: JOB }]);
    api.jobs.end(JOB, { kind: "cancelled" });
    expect((await send("POST", `/v1/jobs/${JOB}/cancel`)).body.error.code).toBe("E_CONFLICT");
  });

  test.each([
    [{ kind: "done", result: { id: "ch-1" } }, { kind: "done", result: { id: "ch-1" } }],
    [{ kind: "done" }, { kind: "done", result: null }],
    [{ kind: "not-done" }, { kind: "not-done" }],
    [{ kind: "given-up", reason: "too late" }, { kind: "given-up", reason: "too late" }],
  ])("a call that nobody knows about is resolved as %j", async (body, resolution) => {
    await start();
    api.jobs.addTool(JOB, unknownTool());
    const answer = await send("POST", `/v1/jobs/${JOB}/tools/${EFFECT}/resolve`, body);
    expect(answer).toEqual({ status: 202, body: { job: JOB, effect: EFFECT, resolution: body.kind } });
    expect(api.jobs.told).toEqual([{ kind: "resolve", job: JOB, effect: EFFECT, resolution }]);
  });
});

describe("what jobs ask people", () => {
  test("is listed, shown with its job, and decided in the name of who is at the door", async () => {
    await start();
    const asked = askedBy(JOB);
    api.jobs.addApproval(JOB, asked);
    const { row } = asked;
    const shown = { job: JOB, approval: "manager#1", ...row };
    expect((await send("GET", "/v1/approvals")).body).toEqual({ approvals: [shown], more: false });
    expect((await send("GET", "/v1/approvals?job=other")).body).toEqual({ approvals: [], more: false });
    expect((await send("GET", `/v1/jobs/${JOB}`)).body.approvals).toEqual([shown]);
    const path = `/v1/jobs/${JOB}/approvals/${encodeURIComponent("manager#1")}`;
    expect(await send("POST", path, { approved: false, data: { why: "late" }, shown: row.shown })).toEqual({
      status: 202, body: { job: JOB, approval: "manager#1", approved: false },
    });
    expect(api.jobs.told).toEqual([{
      kind: "decision", job: JOB, call: "manager#1", approved: false, data: { why: "late" }, principal: "anonymous",
    }]);
  });
});

describe("bad input is refused, and nothing is changed", () => {
  const resolve = `/v1/jobs/${JOB}/tools/${EFFECT}/resolve`;
  const approvals = `/v1/jobs/${JOB}/approvals`;
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`a${at}`, "x"]));
  test.each<readonly [string, string, string, unknown, number, string]>([
    ["no body", "POST", "/v1/jobs", undefined, 400, "E_INVALID"],
    ["a body that is no JSON", "POST", "/v1/jobs", "{agent", 400, "E_INVALID"],
    ["no agent", "POST", "/v1/jobs", { input: 1 }, 400, "E_INVALID"],
    ["an agent that is no name", "POST", "/v1/jobs", { agent: "a/b" }, 400, "E_INVALID"],
    ["an agent that nobody has", "POST", "/v1/jobs", { agent: "nobody" }, 404, "E_NOT_FOUND"],
    ["a field that is not known", "POST", "/v1/jobs", { agent: "a", by: "ann" }, 400, "E_INVALID"],
    ["a tenant in the body", "POST", "/v1/jobs", { agent: "a", tenant: "t" }, 400, "E_INVALID"],
    ["an id that is none", "POST", "/v1/jobs", { agent: "a", id: "../x" }, 400, "E_INVALID"],
    ["an id that is too long", "POST", "/v1/jobs", { agent: "a", id: "x".repeat(129) }, 400, "E_INVALID"],
    ["another input under one id", "POST", "/v1/jobs", { agent: "claims", input: 2, id: JOB }, 409, "E_CONFLICT"],
    ["an attribute that is no text", "POST", "/v1/jobs", { agent: "a", attributes: { n: 1 } }, 400, "E_INVALID"],
    ["an attribute's bad name", "POST", "/v1/jobs", { agent: "a", attributes: { "a b": "" } }, 400, "E_INVALID"],
    ["a class that is none", "POST", "/v1/jobs", { agent: "a", queueClass: "fast" }, 400, "E_INVALID"],
    ["no time at all", "POST", "/v1/jobs", { agent: "a", maxDuration: "0 s" }, 400, "E_INVALID"],
    ["a duration that is none", "POST", "/v1/jobs", { agent: "a", maxDuration: "soon" }, 400, "E_INVALID"],
    ["too high a priority", "POST", "/v1/jobs", { agent: "a", priority: 1_001 }, 400, "E_INVALID"],
    ["too many attributes", "POST", "/v1/jobs", { agent: "a", attributes: many }, 400, "E_INVALID"],
    ["too large a body", "POST", "/v1/jobs", { agent: "a", input: "x".repeat(8_400_000) }, 413, "E_TOO_LARGE"],
    ["a status that is none", "GET", "/v1/jobs?status=done", undefined, 400, "E_INVALID"],
    ["an order that is none", "GET", "/v1/jobs?order=random", undefined, 400, "E_INVALID"],
    ["too long a page", "GET", "/v1/jobs?limit=1001", undefined, 400, "E_INVALID"],
    ["a page after no id", "GET", "/v1/jobs?after=-", undefined, 400, "E_INVALID"],
    ["an attribute without value", "GET", "/v1/jobs?attribute=region", undefined, 400, "E_INVALID"],
    ["a parameter that is not known", "GET", "/v1/jobs?state=running", undefined, 400, "E_INVALID"],
    ["a job that is not there", "GET", "/v1/jobs/none", undefined, 404, "E_NOT_FOUND"],
    ["an id that cannot be one", "GET", "/v1/jobs/%20", undefined, 400, "E_INVALID"],
    ["events before the first", "GET", `/v1/jobs/${JOB}/events?after=-1`, undefined, 400, "E_INVALID"],
    ["events of a job that is not there", "GET", "/v1/jobs/none/events", undefined, 404, "E_NOT_FOUND"],
    ["too long a wait", "GET", `/v1/jobs/${JOB}/result?waitMs=60001`, undefined, 400, "E_INVALID"],
    ["the result of a job that is not there", "GET", "/v1/jobs/none/result", undefined, 404, "E_NOT_FOUND"],
    ["a signal that is no name", "POST", `/v1/jobs/${JOB}/signals/a%2Fb`, 1, 400, "E_INVALID"],
    ["a signal that is no JSON", "POST", `/v1/jobs/${JOB}/signals/a`, "{", 400, "E_INVALID"],
    ["a signal for no job", "POST", "/v1/jobs/none/signals/a", 1, 404, "E_NOT_FOUND"],
    ["a cancel of no job", "POST", "/v1/jobs/none/cancel", undefined, 404, "E_NOT_FOUND"],
    ["an effect that is none", "POST", `/v1/jobs/${JOB}/tools/x/resolve`, { kind: "not-done" }, 400, "E_INVALID"],
    ["an effect not there", "POST", resolve, { kind: "not-done" }, 404, "E_NOT_FOUND"],
    ["no resolution", "POST", resolve, undefined, 400, "E_INVALID"],
    ["a resolution that is none", "POST", resolve, { kind: "yes" }, 400, "E_INVALID"],
    ["no reason", "POST", resolve, { kind: "given-up" }, 400, "E_INVALID"],
    ["who resolves", "POST", resolve, { kind: "not-done", by: "a" }, 400, "E_INVALID"],
    ["an approval that nobody asks", "POST", `${approvals}/x`, { approved: true }, 404, "E_NOT_FOUND"],
    ["an approval of no job", "POST", "/v1/jobs/none/approvals/x", { approved: true }, 404, "E_NOT_FOUND"],
    ["no decision", "POST", `${approvals}/manager`, {}, 400, "E_INVALID"],
    ["a decision that is no word", "POST", `${approvals}/manager`, { approved: "yes" }, 400, "E_INVALID"],
    ["who approves", "POST", `${approvals}/manager`, { approved: true, by: "boss" }, 400, "E_INVALID"],
    ["too long a name", "POST", `${approvals}/${"x".repeat(201)}`, { approved: true }, 400, "E_INVALID"],
    ["approvals of no job", "GET", "/v1/approvals?job=%20", undefined, 400, "E_INVALID"],
    ["too many approvals", "GET", "/v1/approvals?limit=1001", undefined, 400, "E_INVALID"],
    ["a method that is not there", "DELETE", `/v1/jobs/${JOB}`, undefined, 405, "E_METHOD_NOT_ALLOWED"],
  ])("%s", async (_what, method, path, body, status, code) => {
    await start();
    const answer = await send(method, path, body);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
    expect(answer.body.error.message).not.toBe("");
    expect(api.jobs.started).toHaveLength(1);
    expect(api.jobs.told).toEqual([]);
  });

  test.each([["", 400], ["x".repeat(257), 400]])("an idempotency key %j", async (key, status) => {
    const answer = await send("POST", "/v1/jobs", { agent: "claims" }, { "Idempotency-Key": key });
    expect([answer.status, answer.body.error?.code]).toEqual([status, "E_INVALID"]);
  });
});

test("the description of the API for machines has the routes of jobs", async () => {
  const { paths } = (await send("GET", "/v1/openapi.json")).body;
  const found = Object.keys(paths).filter((path) => path.startsWith("/v1/jobs") || path === "/v1/approvals");
  expect(found).toEqual(expect.arrayContaining([
    "/v1/approvals", "/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/stream", "/v1/jobs/{job}/events",
    "/v1/jobs/{job}/result", "/v1/jobs/{job}/signals/{name}", "/v1/jobs/{job}/approvals/{approval}",
    "/v1/jobs/{job}/cancel", "/v1/jobs/{job}/tools/{effect}/resolve",
  ]));
});

describe("telling many jobs the same", () => {
  const bulk = (body: unknown): Promise<Answer> => send("POST", "/v1/jobs/bulk", body);

  test("reaches all of a filter that have not ended, a page at a time", async () => {
    for (const id of ["a", "b", "c", "d"]) await start(parseJobId(id));
    api.jobs.end(parseJobId("b"), { kind: "cancelled" });
    const cancel = { action: { kind: "cancel" }, agent: "claims" };
    const done = { failed: [], more: false, revision: 7 };
    const dry = await bulk({ ...cancel, dryRun: true });
    expect(dry).toEqual({ status: 200, body: { ...done, told: 3, skipped: 1, jobs: ["a", "c", "d"] } });
    expect(api.jobs.told).toEqual([]);
    const first = await bulk({ ...cancel, limit: 2 });
    expect(first.body).toEqual({ ...done, told: 1, skipped: 1, jobs: ["a"], more: true, next: "b" });
    expect((await bulk({ ...cancel, after: "b" })).body).toMatchObject({ jobs: ["c", "d"], more: false });
    expect(api.jobs.told).toEqual(["a", "c", "d"].map((job) => ({ kind: "cancel", job })));
  });

  test("sends a signal, each job one of the same key", async () => {
    await start();
    const action = { kind: "signal", name: "go", payload: 5, idempotencyKey: "k" };
    expect((await bulk({ action, status: "pending" })).body).toMatchObject({ told: 1 });
    expect(api.jobs.told).toEqual([{ kind: "signal", job: JOB, name: "go", payload: 5, key: "k" }]);
  });

  test.each([
    ["a time that is none", { action: { kind: "cancel" }, createdAfter: "soon" }],
    ["a version that is none", { action: { kind: "move", artifact: "new" }, agent: "claims" }],
    ["no resolution", { action: { kind: "resolve" }, agent: "claims" }],
    ["no filter", { action: { kind: "cancel" } }],
    ["another action", { action: { kind: "forget" }, agent: "claims" }],
    ["a limit above the highest", { action: { kind: "cancel" }, agent: "claims", limit: 501 }],
    ["an unknown field", { action: { kind: "cancel" }, agent: "claims", force: true }],
  ])("is refused with %s", async (_what, body) => {
    await start();
    expect(await bulk(body)).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
    expect(api.jobs.told).toEqual([]);
  });
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { parseJobId } from "../../../src/base/ids.ts";
import { readEvents, type ReceivedEvent } from "../../../src/cli/sse.ts";
import { WATCH_BUFFER_BYTES_MAX } from "../../../src/api/limits.ts";
import { ownedBy } from "../../support/scripted-jobs.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";

const JOB = parseJobId("claim-17");
let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});
afterEach(() => api.close());

async function open(job = JOB, signal?: AbortSignal): Promise<AsyncGenerator<ReceivedEvent>> {
  const response = await fetch(`${api.url}/v1/jobs/${job}/stream`, signal === undefined ? {} : { signal });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  return readEvents(response.body as ReadableStream<Uint8Array>);
}

async function next(events: AsyncGenerator<ReceivedEvent>): Promise<readonly [string, unknown]> {
  const { value, done } = await events.next();
  if (done === true) return ["over", undefined];
  return [value.event, JSON.parse(value.data)];
}

async function startJob(): Promise<void> {
  await api.jobs.start({ agent: "claims", input: {}, id: JOB }, { principal: "ann", tenant: "t" });
}

test("states, progress and the end come as they happen, and then it is over", async () => {
  await startJob();
  const events = await open();
  expect(await next(events)).toEqual(["state", expect.objectContaining({ job: JOB, status: "pending" })]);
  api.jobs.change(JOB, ownedBy("n2"));
  expect(await next(events)).toEqual(["state", expect.objectContaining({ status: "running", owner: "n2" })]);
  api.jobs.emit(JOB, { done: 0.5, raw: Buffer.of(1) });
  expect(await next(events)).toEqual(["progress", { data: { done: 0.5, raw: { $base64: "AQ==" } } }]);
  api.jobs.end(JOB, { kind: "completed", output: { paid: true } });
  expect(await next(events)).toEqual(["state", expect.objectContaining({ status: "completed" })]);
  expect(await next(events)).toEqual(["end", { job: JOB, result: { kind: "completed", output: { paid: true } } }]);
  expect(await next(events)).toEqual(["over", undefined]);
});

test("a reader that leaves is forgotten", async () => {
  await startJob();
  const leave = new AbortController();
  const events = await open(JOB, leave.signal);
  await next(events);
  expect(api.jobs.followed(JOB)).toBe(1);
  leave.abort();
  await vi.waitFor(() => expect(api.jobs.followed(JOB)).toBe(0));
});

test("what a slow reader misses is counted, and states are not among it", async () => {
  await startJob();
  const events = await open();
  await next(events);
  // More than the sockets and the buffer hold.
  const large = "x".repeat(WATCH_BUFFER_BYTES_MAX / 4);
  const count = 100;
  for (let at = 0; at < count; at++) {
    api.jobs.emit(JOB, large);
    await new Promise((resolve) => setImmediate(resolve));
  }
  api.jobs.change(JOB, ownedBy("n2"));
  let seen = 0;
  let found = await next(events);
  for (; found[0] === "progress"; found = await next(events)) seen++;
  expect(found).toEqual(["state", expect.objectContaining({ status: "running" })]);
  expect(seen).toBeLessThan(count);
  api.jobs.emit(JOB, "late");
  expect(await next(events)).toEqual(["progress", { data: "late", missed: count - seen }]);
  api.jobs.end(JOB, { kind: "cancelled" });
});

test("a job that nobody has, and an id that is none, are refused", async () => {
  const missing = await fetch(`${api.url}/v1/jobs/none/stream`);
  expect(missing.status).toBe(404);
  expect(await missing.json()).toMatchObject({ error: { code: "E_NOT_FOUND" } });
  expect((await fetch(`${api.url}/v1/jobs/${encodeURIComponent("a b")}/stream`)).status).toBe(400);
});

test("a node that stops says so to whoever follows", async () => {
  await startJob();
  const events = await open();
  await next(events);
  const closed = api.close();
  expect(await next(events)).toEqual(["error", { error: expect.objectContaining({ code: "E_UNAVAILABLE" }) }]);
  await closed;
  api = await openApi();
});

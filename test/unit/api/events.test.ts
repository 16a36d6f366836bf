import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { EventDraft } from "../../../src/metrics/events/core/event.ts";
import { EventLog } from "../../../src/metrics/events/core/event-log.ts";
import { readEvents, type ReceivedEvent } from "../../../src/cli/sse.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";

const GONE: EventDraft = { kind: "node.gone", fields: { node: "n2" } };
let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});
afterEach(() => api.close());

function happen(revision: number, draft: EventDraft = GONE): void {
  api.events.add(draft, { kind: "store", revision, index: 0 }, revision * 1_000);
}

async function follow(query = "", headers: Record<string, string> = {}): Promise<AsyncGenerator<ReceivedEvent>> {
  const response = await fetch(`${api.url}/v1/events${query}`, { headers });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  return readEvents(response.body as ReadableStream<Uint8Array>);
}

async function next(events: AsyncGenerator<ReceivedEvent>): Promise<ReceivedEvent> {
  const { value, done } = await events.next();
  if (done === true) throw new RangeError("the stream is over");
  return value;
}

async function list(query: string): Promise<{ readonly status: number; readonly body: unknown }> {
  const response = await fetch(`${api.url}/v1/events?follow=false${query}`);
  return { status: response.status, body: await response.json() };
}

interface Page {
  readonly events: readonly { readonly id: string; readonly cursor: string }[];
  readonly gaps: readonly string[];
  readonly cursor: string;
}

async function poll(query: string): Promise<Page> {
  const response = await fetch(`${api.url}/v1/events?follow=poll${query}`);
  expect(response.status).toBe(200);
  return await response.json() as Page;
}

test("a list has what is held, the newest of it, and where to go on", async () => {
  happen(1);
  happen(2, { kind: "leader.changed", fields: { node: "n1", epoch: 2 } });
  expect((await list("&severity=error")).body).toEqual({
    events: [{
      id: "1.0", kind: "node.gone", area: "membership", severity: "error", atMs: 1_000, subject: "node/n2",
      text: "n2 is gone: others take its work", fields: { node: "n2" },
    }],
    gaps: [],
    cursor: "2.0~n1.1.0",
  });
  expect((await list("&limit=1")).body).toMatchObject({ events: [{ id: "2.0" }] });
  expect((await list("&after=1.0~n1.1.0")).body).toMatchObject({ events: [{ id: "2.0" }] });
  expect((await list("&kind=node.gone,node.drained&area=membership&subject=n2&sinceMs=1000")).body)
    .toMatchObject({ events: [{ id: "1.0" }] });
});

test("a stream says where it begins, then what happens, and goes on where it was cut off", async () => {
  happen(1);
  const events = await follow();
  const begin = await next(events);
  expect([begin.event, begin.id]).toEqual(["alive", "1.0~n1.1.0"]);
  happen(2);
  const event = await next(events);
  expect([event.event, event.id, JSON.parse(event.data)]).toMatchObject(["event", "2.0~n1.1.0", { id: "2.0" }]);
  await events.return(undefined);
  happen(3);
  const again = await follow("?after=0.0", { "last-event-id": event.id ?? "" });
  expect((await next(again)).event).toBe("alive");
  expect(JSON.parse((await next(again)).data)).toMatchObject({ id: "3.0" });
  await again.return(undefined);
});

test("a stream from a time on begins with what is held of it", async () => {
  happen(1);
  happen(2);
  const events = await follow("?sinceMs=2000");
  expect((await next(events)).event).toBe("alive");
  expect((await next(events)).id).toBe("2.0");
  await events.return(undefined);
});

test("who comes back too late is told that something may be missing", async () => {
  api.events.beginAfter(500);
  const events = await follow("?after=7.0");
  expect((await next(events)).event).toBe("alive");
  const gap = await next(events);
  expect([gap.event, JSON.parse(gap.data)]).toMatchObject(["gap", { areas: expect.arrayContaining(["job"]) }]);
  await events.return(undefined);
});

test("more than the buffer of a stream holds comes whole to who reads it", async () => {
  const message = "x".repeat(500);
  const fields = { slice: "orders", blueprint: "shop", node: "n1", artifact: message, instance: 0, attempt: 1 };
  const kinds = ["instance.placed", "rollout.done", "job.failed"] as const;
  let revision = 0;
  for (const kind of kinds) {
    for (let left = 1_000; left > 0; left--) {
      happen(++revision, kind === "instance.placed"
        ? { kind, fields }
        : kind === "job.failed"
          ? { kind, fields: { job: message, agent: message } }
          : { kind, fields: { slice: message, blueprint: message, from: message, to: message } });
    }
  }
  const events = await follow("?sinceMs=0");
  expect((await next(events)).event).toBe("alive");
  for (let at = 1; at <= revision; at++) {
    expect(JSON.parse((await next(events)).data)).toMatchObject({ id: `${at}.0` });
  }
  happen(revision + 1);
  expect(JSON.parse((await next(events)).data)).toMatchObject({ id: `${revision + 1}.0` });
  await events.return(undefined);
});

test("a reader that takes little at a time costs few looks at what is held", async () => {
  for (let revision = 1; revision <= 1_000; revision++) {
    happen(revision, { kind: "instance.failed", fields: {
      slice: "orders", blueprint: "shop", node: "n1", artifact: "a", instance: 0, attempt: 1, code: "E_X",
      message: "x".repeat(500), isFatal: false, wasServing: true,
    } });
  }
  for (let revision = 1; revision <= 1_000; revision++) {
    happen(1_000 + revision, { kind: "job.failed", fields: { job: "j".repeat(500), agent: "a".repeat(500) } });
  }
  const looks = vi.spyOn(EventLog.prototype, "since");
  onTestFinished(() => looks.mockRestore());
  const events = await follow("?sinceMs=0");
  for (let left = 2_001; left > 0; left--) {
    await next(events);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(looks.mock.calls.length).toBeLessThan(20);
  await events.return(undefined);
});

test("a poll gives the next events, the oldest first, each with where to go on", async () => {
  happen(1);
  happen(2, { kind: "leader.changed", fields: { node: "n1", epoch: 2 } });
  happen(3);
  const first = await poll("&kind=node.gone&sinceMs=0&limit=1");
  expect(first).toMatchObject({ events: [{ id: "1.0", cursor: "1.0" }], gaps: [], cursor: "2.0" });
  const second = await poll(`&kind=node.gone&limit=10&after=${encodeURIComponent(first.cursor)}`);
  expect(second.events.map(({ id }) => id)).toEqual(["3.0"]);
  expect(await poll(`&after=${encodeURIComponent(second.cursor)}`)).toEqual({ ...second, events: [] });
});

test("a poll that finds nothing waits for the next event that is wanted", async () => {
  const { cursor } = await poll("");
  const followed = vi.spyOn(api.events, "follow");
  const waiting = poll(`&waitMs=60000&kind=node.gone&after=${encodeURIComponent(cursor)}`);
  await vi.waitFor(() => expect(followed).toHaveBeenCalled());
  happen(1, { kind: "leader.changed", fields: { node: "n1", epoch: 2 } });
  happen(2);
  expect((await waiting).events.map(({ id }) => id)).toEqual(["2.0"]);
});

test("a poll that waits is answered when its node stops, and says where to go on", async () => {
  const { cursor } = await poll("");
  const followed = vi.spyOn(api.events, "follow");
  const waiting = poll(`&waitMs=60000&after=${encodeURIComponent(cursor)}`);
  await vi.waitFor(() => expect(followed).toHaveBeenCalled());
  await api.close();
  expect(await waiting).toEqual({ events: [], gaps: [], cursor });
});

test("a poll from a place that is no more held says what may be missing, once, and does not wait", async () => {
  api.events.beginAfter(500);
  const first = await poll("&waitMs=60000&after=7.0~n2.1.3");
  expect(first).toMatchObject({ events: [], gaps: expect.arrayContaining(["job"]) });
  // Whoever asks on from there would be answered at once for ever.
  expect(await poll(`&after=${encodeURIComponent(first.cursor)}`)).toEqual({ ...first, gaps: [] });
  expect(first.cursor).toContain("~n2.1.3");
});

test("what a poll has looked at and nobody wanted is behind it, also when much of it is pushed out", async () => {
  const { cursor } = await poll("&kind=node.gone");
  const failed = { kind: "job.failed", fields: { job: "j", agent: "a" } } as const;
  for (let revision = 1; revision <= 1_500; revision++) happen(revision, failed);
  const next = await poll(`&kind=node.gone&after=${encodeURIComponent(cursor)}`);
  expect(next.gaps).toEqual(["job"]);
  expect(await poll(`&kind=node.gone&after=${encodeURIComponent(next.cursor)}`)).toEqual({ ...next, gaps: [] });
});

test.each([
  "&kind=node.gon", "&kind=", "&area=nodes", "&severity=fatal", "&sinceMs=-1", "&limit=0", "&limit=1001", "&after=x",
  "&what=1", "&waitMs=60001",
])("%s is refused", async (query) => {
  expect(await list(query)).toMatchObject({ status: 400, body: { error: { code: "E_INVALID" } } });
});

test("a place that is none is refused before the stream begins", async () => {
  const response = await fetch(`${api.url}/v1/events`, { headers: { "last-event-id": "x" } });
  expect(response.status).toBe(400);
});

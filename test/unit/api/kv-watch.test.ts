import { afterEach, beforeEach, expect, test } from "vitest";
import { readEvents, type ReceivedEvent } from "../../../src/cli/sse.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";

let api: ApiFixture;
const leaving: AbortController[] = [];

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  for (const leave of leaving.splice(0)) leave.abort();
  await api.close();
});

async function open(query: string, headers: Record<string, string> = {}): Promise<Response> {
  const leave = new AbortController();
  leaving.push(leave);
  return fetch(`${api.url}/v1/kv/watch?${query}`, { headers, signal: leave.signal });
}

/** The next events of a watch, as they come. */
class Events {
  private readonly events: AsyncGenerator<ReceivedEvent>;

  constructor(response: Response) {
    this.events = readEvents(response.body as ReadableStream<Uint8Array>);
  }

  async next(): Promise<ReceivedEvent> {
    const { value } = await this.events.next();
    return value as ReceivedEvent;
  }
}

async function put(...keys: readonly string[]): Promise<void> {
  const then = keys.map((key) => ({ kind: "put", key: parseKeyText(key), value: key }) as const);
  await api.local.kv.transact({ compare: [], then, else: [] });
}

test("a watch tells where it begins, then each change of its prefix in order", async () => {
  await put("data/before");
  const events = new Events(await open("prefix=data/w/"));
  expect(await events.next()).toEqual({ event: "progress", id: "1", data: '{"revision":1}' });
  await put("data/w/a");
  await put("data/other");
  const key = parseKeyText("data/w/a");
  await api.local.kv.transact({ compare: [], then: [{ kind: "delete", key }], else: [] });
  const first = await events.next();
  expect([first.event, first.id]).toEqual(["put", "2"]);
  expect(JSON.parse(first.data)).toMatchObject({ key: "data/w/a", value: "data/w/a", modRevision: 2 });
  expect(await events.next()).toEqual({ event: "delete", id: "4", data: '{"key":"data/w/a","modRevision":4}' });
});

test("only the last event of a transaction has an id, so that nobody resumes inside one", async () => {
  const events = new Events(await open("prefix=data/"));
  await events.next();
  await put("data/a", "data/b");
  expect([(await events.next()).id, (await events.next()).id]).toEqual([undefined, "1"]);
});

test("who resumes at the present gets what follows", async () => {
  await put("data/a");
  const events = new Events(await open("prefix=data/", { "last-event-id": "1" }));
  await events.next();
  await put("data/b");
  expect((await events.next()).id).toBe("2");
});

test.each<[what: string, query: string, headers: Record<string, string>]>([
  ["Last-Event-ID", "prefix=data/", { "last-event-id": "1" }],
  ["from", "prefix=data/&from=2", {}],
  ["the newer of both", "prefix=data/&from=1", { "last-event-id": "1" }],
])("%s of the past gives what came since, then what comes", async (_what, query, headers) => {
  await put("data/a");
  await put("data/b", "data/c");
  const events = new Events(await open(query, headers));
  expect(await events.next()).toEqual({ event: "progress", id: "1", data: '{"revision":1}' });
  await put("data/d");
  const seen = [await events.next(), await events.next(), await events.next()];
  expect(seen.map(({ id, data }) => [id, (JSON.parse(data) as { key: string }).key])).toEqual([
    [undefined, "data/b"], ["2", "data/c"], ["3", "data/d"],
  ]);
});

test("a past that is not held any more is 410 with the oldest revision that is", async () => {
  const value = "x".repeat(500_000);
  for (let count = 0; count < 40; count++) {
    await api.local.kv.transact({ compare: [], then: [{ kind: "put", key: parseKeyText("data/a"), value }], else: [] });
  }
  const answer = await open("prefix=data/&from=1");
  expect(answer.status).toBe(410);
  const { oldestRevision } = api.local.kv;
  expect(oldestRevision).toBeGreaterThan(1);
  expect(await answer.json()).toMatchObject({ error: { code: "E_COMPACTED", details: { oldest: oldestRevision } } });
  expect((await open(`prefix=data/&from=${oldestRevision}`)).status).toBe(200);
});

test("a node that does not get to where the watcher is says so, for the watcher to go elsewhere", async () => {
  const events = new Events(await open("prefix=data/&from=9", { "x-deadline-ms": "30" }));
  await events.next();
  const last = await events.next();
  expect([last.event, JSON.parse(last.data)]).toMatchObject(["error", { error: { code: "E_UNAVAILABLE" } }]);
});

test("a node that is behind does not repeat what the watcher has seen elsewhere", async () => {
  const events = new Events(await open("prefix=data/&from=2"));
  await events.next();
  await put("data/a");
  await put("data/b");
  expect((await events.next()).id).toBe("2");
});

test.each(["prefix=nonsense/", "prefix=data/&from=-1", "prefix=data/&since=1"])("%s is refused", async (query) => {
  expect((await open(query)).status).toBe(400);
});

test("a node that stops ends its watches and says so", async () => {
  const events = new Events(await open("prefix=data/"));
  await events.next();
  const closed = api.close();
  const last = await events.next();
  expect(last.event).toBe("error");
  expect(last.data).toContain("E_UNAVAILABLE");
  await closed;
  api = await openApi();
});

test("asking for the head of a watch does not leave a watch behind", async () => {
  let watches = 0;
  const { kv } = api.local;
  const watch = kv.watch.bind(kv);
  kv.watch = (prefix, handlers, options) => {
    watches++;
    const opened = watch(prefix, handlers, options);
    return {
      ...opened,
      cancel: () => {
        watches--;
        opened.cancel();
      },
    };
  };
  const response = await fetch(`${api.url}/v1/kv/watch?prefix=data/`, { method: "HEAD" });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  expect(watches).toBe(0);
});

test("a reader that is slow gets everything all the same, later", async () => {
  // Held, because what nobody holds is collected and takes its body with it.
  const response = await open("prefix=data/");
  const value = "x".repeat(256 * 1024);
  for (let count = 0; count < 50; count++) {
    const key = parseKeyText(`data/${count}`);
    await api.local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
  }
  const events = new Events(response);
  const seen: number[] = [];
  while (seen.length < 50) {
    const { event, id } = await events.next();
    if (event === "put") seen.push(Number(id));
  }
  expect(seen).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
});

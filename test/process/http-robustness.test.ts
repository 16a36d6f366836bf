// Nonsense, hostility and sloth on the ports of live nodes: each gets the stated answer and one log line, and the node
// serves everybody else meanwhile and afterwards.
import { connect as connectTcp, type Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { z } from "zod";
import { connect } from "../../src/client/connect.ts";
import { type Answer, ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const MiB = 1024 * 1024;

let fleet: NodeFleet;
let api = "";

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  api = fleet.api("n1");
  expect(await ask(`${api}/v1/kv/data/present`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
});

afterAll(() => fleet.close());

interface BadRequest {
  readonly name: string;
  readonly path: string;
  readonly method: string;
  readonly body?: unknown;
  readonly raw?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Record<string, string>;
  readonly status: number;
  readonly code: string;
}

const BAD_REQUESTS: readonly BadRequest[] = [
  { name: "bad JSON", method: "PUT", path: "/v1/kv/data/a", raw: "{", status: 400, code: "E_INVALID" },
  { name: "no body", method: "PUT", path: "/v1/kv/data/a", raw: "", status: 400, code: "E_INVALID" },
  { name: "an unknown key prefix", method: "PUT", path: "/v1/kv/users/a", body: 1, status: 400, code: "E_INVALID" },
  { name: "a read of an unknown prefix", method: "GET", path: "/v1/kv/users/a", status: 400, code: "E_INVALID" },
  {
    name: "a write of the system's keys", method: "PUT", path: "/v1/kv/leader", body: 1,
    status: 403, code: "E_FORBIDDEN",
  },
  {
    name: "a delete of the system's keys", method: "DELETE", path: "/v1/kv/nodes/n1/state",
    status: 403, code: "E_FORBIDDEN",
  },
  {
    name: "a transaction on the system's keys", method: "POST", path: "/v1/kv/txn",
    body: { compare: [], then: [{ op: "delete", key: "leader" }], else: [] }, status: 403, code: "E_FORBIDDEN",
  },
  {
    name: "a transaction with too many operations", method: "POST", path: "/v1/kv/txn",
    body: { compare: [], then: Array.from({ length: 129 }, (_, at) => ({ op: "get", key: `data/${at}` })), else: [] },
    status: 413, code: "E_TOO_LARGE",
  },
  {
    name: "a transaction of another shape", method: "POST", path: "/v1/kv/txn", body: { if: [] },
    status: 400, code: "E_INVALID",
  },
  {
    name: "a value too large", method: "PUT", path: "/v1/kv/data/a", body: "x".repeat(600 * 1024),
    status: 413, code: "E_TOO_LARGE",
  },
  {
    name: "a body too large", method: "PUT", path: "/v1/kv/data/a", body: "x".repeat(2 * MiB),
    status: 413, code: "E_TOO_LARGE",
  },
  {
    name: "a key too long", method: "PUT", path: `/v1/kv/data/${"k".repeat(600)}`, body: 1,
    status: 413, code: "E_TOO_LARGE",
  },
  {
    name: "a value too deep", method: "PUT", path: "/v1/kv/data/a", raw: "[".repeat(5_000) + "]".repeat(5_000),
    status: 400, code: "E_INVALID",
  },
  { name: "an unknown slice", method: "POST", path: "/v1/call/nobody/run", body: {}, status: 404, code: "E_NOT_FOUND" },
  { name: "an unknown blueprint", method: "GET", path: "/v1/blueprints/nobody", status: 404, code: "E_NOT_FOUND" },
  { name: "an unknown path", method: "GET", path: "/v2/kv", status: 404, code: "E_NOT_FOUND" },
  {
    name: "the wrong method", method: "POST", path: "/v1/kv/data/a", body: 1,
    status: 405, code: "E_METHOD_NOT_ALLOWED",
  },
  {
    name: "the wrong method of a fixed path", method: "DELETE", path: "/v1/cluster",
    status: 405, code: "E_METHOD_NOT_ALLOWED",
  },
  {
    name: "If-Match that is no number", method: "PUT", path: "/v1/kv/data/a", body: 1, headers: { "if-match": "x" },
    status: 400, code: "E_INVALID",
  },
  {
    name: "a deadline that is none", method: "GET", path: "/v1/kv/data/a", headers: { "x-deadline-ms": "soon" },
    status: 400, code: "E_INVALID",
  },
  {
    name: "an unknown consistency", method: "GET", path: "/v1/kv/data/a?consistency=some",
    status: 400, code: "E_INVALID",
  },
  { name: "a page too long", method: "GET", path: "/v1/kv?prefix=data/&limit=5000", status: 400, code: "E_INVALID" },
  { name: "an unknown query", method: "GET", path: "/v1/kv?colour=red", status: 400, code: "E_INVALID" },
  {
    name: "an artifact that is none", method: "PUT", path: "/v1/artifacts/demo:a:1.0.0", raw: randomBytes(1_000),
    status: 400, code: "E_INVALID",
  },
  {
    name: "an artifact without a name", method: "PUT", path: "/v1/artifacts/a", raw: "x",
    status: 400, code: "E_INVALID",
  },
  {
    name: "a blueprint of another shape", method: "PUT", path: "/v1/blueprints/a", body: { slices: 7 },
    status: 400, code: "E_INVALID",
  },
  {
    name: "a request from a page of another site", method: "GET", path: "/v1/cluster", headers: { origin: "http://evil.example" },
    status: 403, code: "E_FORBIDDEN",
  },
];

const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string().min(10) }) });

describe("a bad request", () => {
  test.each(BAD_REQUESTS)("$name: $status $code, one log line", async ({ path, status, code, name: _, ...request }) => {
    const node = fleet.process("n1");
    const before = node.stderr.length;
    expectError(await ask(`${api}${path}`, request), status, code);
    await expectServing();
    const apiLines = (): readonly string[] =>
      node.stderr.slice(before).filter((line) => line.includes('"area":"api"'));
    await eventually("it is logged", () => apiLines().length > 0 || undefined);
    const lines = apiLines();
    expect(lines, lines.join("\n")).toHaveLength(1);
    expect(lines[0]).not.toMatch(/"level":"(error|warn)"/);
  });

  test("a condition that does not hold is 409 and tells what is there", async () => {
    const { body } = await ask(`${api}/v1/kv/data/present`);
    const { modRevision } = z.object({ modRevision: z.number() }).parse(body);
    const url = `${api}/v1/kv/data/present`;
    const late = await ask(url, { method: "PUT", body: 2, headers: { "if-match": String(modRevision + 1) } });
    expectError(late, 409, "E_CONFLICT");
    expect(late.body).toMatchObject({ error: { outcome: "not-applied", details: { modRevision } } });
    expectError(await ask(url, { method: "PUT", body: 2, headers: { "if-none-match": "*" } }), 409, "E_CONFLICT");
    expectError(await ask(url, { method: "DELETE", headers: { "if-match": "1" } }), 409, "E_CONFLICT");
    const inTime = await ask(url, { method: "PUT", body: 2, headers: { "if-match": `"${modRevision}"` } });
    expect(inTime.status).toBe(200);
  });
});

describe("what is not even a request", () => {
  test("garbage on the API port is answered with 400 and does no harm", async () => {
    const answer = await sendRaw(api, Buffer.from("\u0000\u0001 this is not HTTP\r\n\r\n"));
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toMatch(/E_INVALID/);
    for (let round = 0; round < 20; round++) await sendRaw(api, randomBytes(4_096));
    await expectServing();
  });

  test("a connection on which nothing is asked is closed without a word: it would answer a request", async () => {
    const socket = openTcp(api);
    const said: Buffer[] = [];
    socket.on("data", (piece: Buffer) => said.push(piece));
    await new Promise((resolve) => socket.once("close", resolve));
    expect(Buffer.concat(said).toString()).toBe("");
  });

  test("garbage on the peer port, as TCP and as WebSocket frames, does no harm", async () => {
    const peer = fleet.peer("n1");
    for (let round = 0; round < 20; round++) await sendRaw(peer, randomBytes(4_096));
    for (let round = 0; round < 10; round++) {
      const socket = new WebSocket(peer);
      await ended(socket, () => socket.send(randomBytes(1_000)));
    }
    const text = new WebSocket(peer);
    await ended(text, () => text.send("hello"));
    await expectServing();
    const { body } = await ask(`${api}/v1/cluster`);
    expect(body).toMatchObject({ quorum: { have: 3 } });
  });

  test("garbage on a client session ends that session only", async () => {
    const session = `${api.replace("http", "ws")}/v1/ws`;
    const socket = new WebSocket(session);
    await ended(socket, () => socket.send(randomBytes(1_000)));
    const wrongPath = new WebSocket(`${session}/nothing`);
    await ended(wrongPath, () => undefined);
    const client = connect({ nodes: [api] });
    onTestFinished(() => client.close());
    await client.kv.put("data/after-garbage", 1);
  });

  test("a plain HTTP request on the peer port is told where to go", async () => {
    const { status, body } = await ask(fleet.peer("n1").replace("ws:", "http:"));
    expect(status).toBe(426);
    expect(body).toMatch(/clients use the address given as `api`/);
  });
});

describe("slow and greedy clients", () => {
  test("200 connections that dribble their request keep nobody else waiting", async () => {
    const sockets = Array.from({ length: 200 }, () => openTcp(api));
    onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
    const begun = "PUT /v1/kv/data/slow HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{";
    for (const socket of sockets) socket.write(begun);
    for (let round = 0; round < 20; round++) await expectServing();
  });

  test("a watcher that does not read is put off and gets everything later; others go on meanwhile", async () => {
    const deaf = openTcp(api);
    onTestFinished(() => void deaf.destroy());
    deaf.write("GET /v1/kv/watch?prefix=data/big/ HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    await new Promise((resolve) => deaf.once("data", resolve));
    deaf.pause();
    const client = connect({ nodes: [api] });
    onTestFinished(() => client.close());
    let seen = 0;
    await client.kv.watch("data/big/", {
      onChanges: ({ changes }) => { seen += changes.length; },
      onEnd: () => undefined,
    });
    const value = "x".repeat(250_000);
    for (let at = 0; at < 120; at++) await client.kv.put(`data/big/${at % 4}`, value);
    await eventually("the other watcher has seen all", () => seen === 120 || undefined);
    await expectServing();
    const mark = "event: put";
    let told = 0;
    let rest = "";
    deaf.on("data", (chunk) => {
      const text = rest + chunk.toString("latin1");
      told += text.split(mark).length - 1;
      // Too short for a whole mark: none is counted twice.
      rest = text.slice(1 - mark.length);
    });
    deaf.resume();
    await eventually("the deaf one has everything", () => told === 120 || undefined);
    const { body } = await ask(`${api}/metrics`);
    const [, resident = "0"] = /^aether_process_resident_memory_bytes (\d+)/m.exec(z.string().parse(body)) ?? [];
    process.stdout.write(`resident memory beside a deaf watcher: ${Math.round(Number(resident) / MiB)} MiB\n`);
  });

  test("a thousand requests at once are answered, each in its own way", async () => {
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, at) => ask(`${api}/v1/kv/data/many/${at % 50}`, { method: "PUT", body: at })),
    );
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].filter((status) => status !== 200 && status !== 429)).toEqual([]);
    await expectServing();
  });
});

function expectError(answer: Answer, status: number, code: string): void {
  expect(answer.body).toMatchObject({ error: { code } });
  expect(answer.status).toBe(status);
  errorSchema.parse(answer.body);
}

async function expectServing(): Promise<void> {
  expect(fleet.process("n1").isRunning, fleet.process("n1").transcript()).toBe(true);
  expect(await ask(`${api}/v1/kv/data/present`, { headers: { connection: "close" } })).toMatchObject({ status: 200 });
}

function openTcp(url: string): Socket {
  const socket = connectTcp(Number(new URL(url).port), "127.0.0.1");
  // ignored: a server may reset what it does not understand
  socket.on("error", () => undefined);
  return socket;
}

/** Sends bytes, gives what came back until the other side closed, or until nothing came for a while. */
async function sendRaw(url: string, bytes: Uint8Array): Promise<string> {
  const socket = openTcp(url);
  let text = "";
  socket.on("data", (chunk) => { text += chunk.toString("utf8"); });
  socket.end(bytes);
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return text;
}

/** Waits until the other side has closed the WebSocket. */
function ended(socket: WebSocket, onOpen: () => void): Promise<void> {
  return new Promise((resolve) => {
    socket.on("open", onOpen);
    socket.on("close", () => resolve());
    // ignored: a refusal is also an end, and `close` follows
    socket.on("error", () => undefined);
  });
}

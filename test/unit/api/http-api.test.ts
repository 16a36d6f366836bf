import { request as httpRequest } from "node:http";
import { connect as connectSocket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { MiB } from "../../../src/base/units.ts";
import { failWith, openApi, type ApiFixture } from "./api-fixture.ts";

let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  await api.close();
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Unchecked: each test looks at what it wants of it. */
  readonly body: ReturnType<JSON["parse"]>;
}

type HeaderFields = Record<string, string>;

/** A text is sent as it is, everything else as JSON. */
async function send(method: string, path: string, body?: unknown, headers: HeaderFields = {}): Promise<Answer> {
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const found = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") === true;
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(found) : found };
}

/** Sends bytes as they are and reads until the server ends the connection. */
async function sendRaw(request: string): Promise<string> {
  const { port } = new URL(api.url);
  const socket = connectSocket({ host: "127.0.0.1", port: Number(port) });
  socket.write(request);
  return text(socket);
}

function expectRefusal(answer: Answer, status: number, code: string): void {
  expect([answer.status, answer.body.error.code]).toEqual([status, code]);
  expect(answer.body.error.message).not.toBe("");
}

describe("leases", () => {
  test("take the keys that are attached to them", async () => {
    const { lease } = (await send("POST", "/v1/leases", { ttlMs: 5_000 })).body;
    await send("PUT", `/v1/kv/data/a?lease=${lease}`, 1);
    await send("POST", "/v1/kv/txn", { then: [{ op: "put", key: "data/b", value: 2, lease }] });
    expect((await send("GET", "/v1/kv/data/a")).body).toMatchObject({ value: 1, lease });
    expect(await send("POST", `/v1/leases/${lease}/renew`)).toMatchObject({ status: 200, body: { lease } });
    expect((await send("GET", `/v1/leases/${lease}`)).body).toEqual({
      lease, ttlMs: 5_000, requests: false, keys: 2, renewals: 1,
    });
    expect(await send("DELETE", `/v1/leases/${lease}`)).toMatchObject({ status: 200, body: { lease } });
    expect((await send("GET", "/v1/kv?prefix=")).body.entries).toEqual([]);
    for (const [method, path] of [["POST", "/renew"], ["DELETE", ""], ["GET", ""]] as const) {
      expectRefusal(await send(method, `/v1/leases/${lease}${path}`), 404, "E_NOT_FOUND");
    }
  });

  test("are refused out of range, and a key without its lease is not written", async () => {
    expectRefusal(await send("POST", "/v1/leases", { ttlMs: 999 }), 400, "E_INVALID");
    expectRefusal(await send("GET", "/v1/leases/first"), 400, "E_INVALID");
    expectRefusal(await send("PUT", "/v1/kv/data/a?lease=77", 1), 404, "E_NOT_FOUND");
    expectRefusal(await send("GET", "/v1/kv/data/a"), 404, "E_NOT_FOUND");
  });

  test("with requests make a write that is sent twice happen once", async () => {
    const { lease } = (await send("POST", "/v1/leases", { ttlMs: 5_000, requests: true })).body;
    const headers = { "Aether-Session": String(lease), "Aether-Request": "1", "If-None-Match": "*" };
    const first = await send("PUT", "/v1/kv/data/a", 1, headers);
    expect(first).toMatchObject({ status: 200, body: { revision: 1 } });
    await send("DELETE", "/v1/kv/data/a");
    expect(await send("PUT", "/v1/kv/data/a", 1, headers)).toMatchObject({ status: 200, body: first.body });
    const other = await send("PUT", "/v1/kv/data/a", 2, headers);
    expectRefusal(other, 409, "E_CONFLICT");
    expect(other.body.error.outcome).toBe("not-applied");
    expectRefusal(await send("GET", "/v1/kv/data/a"), 404, "E_NOT_FOUND");
    expectRefusal(await send("PUT", "/v1/kv/data/a", 1, { "Aether-Session": String(lease) }), 400, "E_INVALID");
    const unknown = await send("PUT", "/v1/kv/data/a", 1, { ...headers, "Aether-Session": "9" });
    expectRefusal(unknown, 409, "E_CONFLICT");
    expect(unknown.body.error.outcome).toBe("unknown");
  });
});

test("a full store is 507 for growth; it says what it weighs and takes another quota", async () => {
  expect((await send("GET", "/v1/cluster/quota")).body).toEqual({ liveBytes: 0, quotaBytes: 8 * 1_024 * MiB });
  expect((await send("POST", "/v1/cluster/quota", { quotaBytes: MiB })).body).toMatchObject({ quotaBytes: MiB });
  const large = ["x".repeat(400_000)];
  for (const key of ["a", "b"]) await send("PUT", `/v1/kv/data/${key}`, large);
  expectRefusal(await send("PUT", "/v1/kv/data/c", large), 507, "E_QUOTA");
  expect(await send("DELETE", "/v1/kv/data/a")).toMatchObject({ status: 200 });
  expect(await send("PUT", "/v1/kv/data/c", large)).toMatchObject({ status: 200 });
  expectRefusal(await send("POST", "/v1/cluster/quota", { quotaBytes: 1 }), 400, "E_INVALID");
});

describe("keys and values", () => {
  test("what was put is read, with its revisions", async () => {
    const put = await send("PUT", "/v1/kv/data/a/b", { n: [1, null, "x"] });
    expect(put).toMatchObject({ status: 200, body: { revision: 1 } });
    const read = await send("GET", "/v1/kv/data/a/b");
    expect(read.body).toEqual({
      key: "data/a/b",
      value: { n: [1, null, "x"] },
      modRevision: 1,
      createRevision: 1,
      version: 1,
      revision: 1,
    });
    expect(read.headers.get("etag")).toBe('"1"');
    expect((await send("GET", "/v1/kv/data/a/b?consistency=local")).body.value).toEqual({ n: [1, null, "x"] });
  });

  test("a percent-encoded key is the same key", async () => {
    await send("PUT", "/v1/kv/data/caf%C3%A9%20au%25lait", 1);
    expect((await send("GET", "/v1/kv/data%2Fcaf%C3%A9%20au%25lait")).body.key).toBe("data/café au%lait");
    expectRefusal(await send("GET", "/v1/kv/data/%zz"), 400, "E_INVALID");
  });

  test("a key that is absent is 404 with the store's revision, and no line in the log at its usual level", async () => {
    await send("PUT", "/v1/kv/data/a", 1);
    const answer = await send("GET", "/v1/kv/data/none");
    expectRefusal(answer, 404, "E_NOT_FOUND");
    expect(answer.body.error.details.revision).toBe(1);
    expect(api.refusals().map(({ level }) => level)).toEqual(["debug"]);
  });

  test("delete tells whether there was something", async () => {
    await send("PUT", "/v1/kv/data/a", 1);
    expect((await send("DELETE", "/v1/kv/data/a")).body).toEqual({ revision: 2, deleted: true });
    expect((await send("DELETE", "/v1/kv/data/a")).body).toMatchObject({ deleted: false });
  });

  test("If-Match writes only over the revision it names, quoted or not", async () => {
    await send("PUT", "/v1/kv/data/a", 1);
    expect((await send("PUT", "/v1/kv/data/a", 2, { "if-match": '"1"' })).status).toBe(200);
    const stale = await send("PUT", "/v1/kv/data/a", 3, { "if-match": "1" });
    expectRefusal(stale, 409, "E_CONFLICT");
    expect(stale.body.error.details).toMatchObject({ modRevision: 2 });
    expectRefusal(await send("DELETE", "/v1/kv/data/a", undefined, { "if-match": "1" }), 409, "E_CONFLICT");
    expect((await send("DELETE", "/v1/kv/data/a", undefined, { "if-match": "2" })).body.deleted).toBe(true);
    expectRefusal(await send("PUT", "/v1/kv/data/a", 3, { "if-match": "soon" }), 400, "E_INVALID");
  });

  test("If-None-Match: * writes only what does not exist", async () => {
    expect((await send("PUT", "/v1/kv/data/a", 1, { "if-none-match": "*" })).status).toBe(200);
    expectRefusal(await send("PUT", "/v1/kv/data/a", 2, { "if-none-match": "*" }), 409, "E_CONFLICT");
    expectRefusal(await send("PUT", "/v1/kv/data/a", 2, { "if-none-match": '"1"' }), 400, "E_INVALID");
  });

  test("a listing goes page by page in key order", async () => {
    for (const name of ["c", "a", "b"]) await send("PUT", `/v1/kv/data/l/${name}`, 1);
    await send("PUT", "/v1/kv/data/z", 2);
    const first = await send("GET", "/v1/kv?prefix=data/l/&limit=2");
    expect(first.body.entries.map((entry: { key: string }) => entry.key)).toEqual(["data/l/a", "data/l/b"]);
    expect(first.body).toMatchObject({ more: true, revision: 4 });
    const second = await send("GET", "/v1/kv?prefix=data/l/&limit=2&after=data/l/b");
    expect(second.body.entries.map((entry: { key: string }) => entry.key)).toEqual(["data/l/c"]);
    expect(second.body.more).toBe(false);
  });

  test.each(["limit=0", "limit=1001", "limit=x", "prefix=nonsense/", "prefx=data/"])(
    "a listing with %s is refused",
    async (query) => {
      expectRefusal(await send("GET", `/v1/kv?${query}`), 400, "E_INVALID");
    },
  );

  test("a transaction compares, then or else", async () => {
    const txn = {
      compare: [{ key: "data/a", target: "exists", op: "=", value: false }],
      then: [{ op: "put", key: "data/a", value: 1 }, { op: "get", key: "data/a" }],
      else: [{ op: "delete", key: "data/a" }, { op: "get", key: "data/a" }],
    };
    const first = await send("POST", "/v1/kv/txn", txn);
    expect(first.body).toMatchObject({ succeeded: true, revision: 1, results: [{ op: "put" }, { op: "get" }] });
    expect(first.body.results[1].entry.value).toBe(1);
    const second = await send("POST", "/v1/kv/txn", txn);
    expect(second.body).toEqual({
      succeeded: false,
      revision: 2,
      results: [{ op: "delete", deleted: true }, { op: "get", entry: null }],
    });
  });

  test.each([
    [{ then: [{ op: "put", key: "data/a" }] }],
    [{ then: [{ op: "burn", key: "data/a" }] }],
    [{ than: [] }],
    [{ compare: [{ key: "data/a", target: "exists", op: "<", value: true }] }],
    [{ then: [{ op: "get", key: "nonsense" }] }],
    [[]],
  ])("a malformed transaction is refused: %j", async (txn) => {
    expectRefusal(await send("POST", "/v1/kv/txn", txn), 400, "E_INVALID");
  });

  test("bytes in the store are shown as base64", async () => {
    const { parseKeyText } = await import("../../../src/kvstore/core/key.ts");
    const key = parseKeyText("data/bytes");
    const put = { kind: "put", key, value: { raw: new Uint8Array([1, 2, 255]) } } as const;
    await api.local.kv.transact({ compare: [], then: [put], else: [] });
    expect((await send("GET", "/v1/kv/data/bytes")).body.value).toEqual({ raw: { $base64: "AQL/" } });
  });
});

describe("what is refused gets its code, one line in the log, and harms nothing", () => {
  const deletesLeader = '{"then":[{"op":"delete","key":"leader"}]}';
  const tooLarge = JSON.stringify("x".repeat(600 * 1024));

  test.each([
    ["bad JSON", "PUT", "/v1/kv/data/a", "{", 400, "E_INVALID"],
    ["an empty body", "PUT", "/v1/kv/data/a", undefined, 400, "E_INVALID"],
    ["an unknown key prefix", "PUT", "/v1/kv/other/a", "1", 400, "E_INVALID"],
    ["an unknown key prefix in a read", "GET", "/v1/kv/other/a", undefined, 400, "E_INVALID"],
    ["a system key", "PUT", "/v1/kv/nodes/n1/state", "1", 403, "E_FORBIDDEN"],
    ["the deletion of a system key", "DELETE", "/v1/kv/leader", undefined, 403, "E_FORBIDDEN"],
    ["a system key in a transaction", "POST", "/v1/kv/txn", deletesLeader, 403, "E_FORBIDDEN"],
    ["a value too large", "PUT", "/v1/kv/data/a", tooLarge, 413, "E_TOO_LARGE"],
    ["a value nested too deep", "PUT", "/v1/kv/data/a", "[".repeat(50_000) + "]".repeat(50_000), 400, "E_INVALID"],
    ["an unknown path", "GET", "/v2/kv", undefined, 404, "E_NOT_FOUND"],
    ["a wrong method", "POST", "/v1/kv/data/a", "1", 405, "E_METHOD_NOT_ALLOWED"],
    ["a wrong method for a fixed path", "GET", "/v1/kv/txn", undefined, 405, "E_METHOD_NOT_ALLOWED"],
  ])("%s", async (_what, method, path, body, status, code) => {
    expectRefusal(await send(method, path, body), status, code);
    expect(api.refusals()).toHaveLength(1);
    expect(api.refusals()[0]).toMatchObject({ code, status });
    expect((await send("PUT", "/v1/kv/data/alive", true)).status).toBe(200);
    expect(api.broken).toEqual([]);
  });

  test("a body over the limit is refused while it comes, announced or not", async () => {
    const announced = await send("PUT", "/v1/kv/data/a", JSON.stringify("x".repeat(2 * MiB)));
    expectRefusal(announced, 413, "E_TOO_LARGE");
    expect(announced.body.error.details.limit).toBe(MiB);
    const streamed = await new Promise<{ status: number; body: string }>((resolve, reject) => {
      const request = httpRequest(`${api.url}/v1/kv/data/a`, { method: "PUT" }, (response) => {
        text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
      });
      request.on("error", reject);
      for (let sent = 0; sent < 3; sent++) request.write(Buffer.alloc(MiB / 2 + 1, 0x20));
      request.end();
    });
    expect(streamed.status).toBe(413);
    expect(streamed.body).toContain("E_TOO_LARGE");
    expect((await send("PUT", "/v1/kv/data/alive", true)).status).toBe(200);
  });

  test("405 tells what is allowed", async () => {
    expect((await send("POST", "/v1/kv/data/a", 1)).headers.get("allow")).toBe("GET, HEAD, PUT, DELETE");
  });

  test("no quorum is 503, not applied", async () => {
    api.local.group.setMode("no-quorum");
    const answer = await send("PUT", "/v1/kv/data/a", 1);
    expectRefusal(answer, 503, "E_NO_QUORUM");
    expect(answer.body.error.outcome).toBe("not-applied");
  });

  test("a write that nobody answers is 504, outcome unknown, after the deadline the caller gave", async () => {
    api.local.group.setMode("silent");
    const answer = await send("PUT", "/v1/kv/data/a", 1, { "x-deadline-ms": "20" });
    expectRefusal(answer, 504, "E_TIMEOUT");
    expect(answer.body.error.outcome).toBe("unknown");
    expectRefusal(await send("PUT", "/v1/kv/data/a", 1, { "x-deadline-ms": "-1" }), 400, "E_INVALID");
  });

  test("a node that is about to stop answers, and says that the connection ends", async () => {
    expect((await send("GET", "/livez")).headers.get("connection")).toBe("keep-alive");
    api.sendClientsAway();
    const answer = await send("PUT", "/v1/kv/data/a", 1);
    expect([answer.status, answer.headers.get("connection")]).toEqual([200, "close"]);
  });

  test("what is no HTTP at all is answered and ends its own connection only", async () => {
    const { port } = new URL(api.url);
    const socket = connectSocket({ host: "127.0.0.1", port: Number(port) });
    socket.write("\u0000\u0001 garbage\r\n\r\n");
    expect(await text(socket)).toContain("E_INVALID");
    expect(api.refusals()).toHaveLength(1);
    expect((await send("GET", "/livez")).status).toBe(200);
  });

  test("a request for an absolute address, as proxies send it, means the same path", async () => {
    await send("PUT", "/v1/kv/data/a", 1);
    const path = `${api.url}/v1/kv/data/a`;
    const answer = await sendRaw(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`);
    expect(answer).toContain('"value":1');
  });

  test("a probe that speaks HTTP/1.0 and names no host is answered", async () => {
    expect(await sendRaw("GET /livez HTTP/1.0\r\n\r\n")).toMatch(/200 OK[^]*"live":true/);
  });

  test("a Host that is no host is refused like everything else", async () => {
    const answer = await sendRaw("GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n");
    expect(answer).toMatch(/400 Bad Request[^]*E_INVALID/);
    expect(api.refusals()).toHaveLength(1);
  });

  test.each([
    ["a page from elsewhere", { origin: "https://evil.example" }],
    ["a name that was bent to this machine", { host: "evil.example" }],
  ])("%s may not use the API", async (_what, headers) => {
    const status = await new Promise<number>((resolve, reject) => {
      const request = httpRequest(`${api.url}/v1/kv`, { headers }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on("error", reject);
      request.end();
    });
    expect(status).toBe(403);
  });
});

describe("calls", () => {
  test("body in, output out, with deadline and trace handed on", async () => {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const answer = await send("POST", "/v1/call/orders/place", { sku: "tea" }, { "x-deadline-ms": "900", traceparent });
    expect(answer).toMatchObject({ status: 200, body: { echo: { sku: "tea" } } });
    expect(answer.headers.get("aether-attempts")).toBe("1");
    expect(api.calls).toEqual([
      { slice: "orders", method: "place", input: { sku: "tea" }, timeoutMs: 900, traceparent },
    ]);
  });

  test("no body is no input, no output is null", async () => {
    api.script = () => Promise.resolve({ kind: "ok", output: undefined, attempts: 2 });
    expect((await send("POST", "/v1/call/orders/count")).body).toBeNull();
    // Without a header the deadline is the method's own, which the callee's side knows.
    expect(api.calls).toEqual([{ slice: "orders", method: "count", input: undefined }]);
  });

  test.each([
    ["E_NOT_FOUND", 404],
    ["E_INVALID", 400],
    ["E_HANDLER", 502],
    ["E_UNAVAILABLE", 503],
    ["E_TIMEOUT", 504],
  ] as const)("%s of a call is %d", async (code, status) => {
    api.script = failWith({ code, message: "as it was" });
    expectRefusal(await send("POST", "/v1/call/none/none", {}), status, code);
    expect(api.refusals()).toHaveLength(1);
  });

  test("overload says when to come back", async () => {
    api.script = failWith({ code: "E_OVERLOADED", message: "full" });
    const answer = await send("POST", "/v1/call/orders/place", {});
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([429, "1"]);
  });

  test("a caller who leaves cancels the call", async () => {
    const cancelled = new Promise<void>((resolve) => {
      api.script = (_call, signal) =>
        new Promise((answer) => {
          signal?.addEventListener("abort", () => {
            resolve();
            answer({ kind: "ok", output: null, attempts: 1 });
          });
          leave.abort();
        });
    });
    const leave = new AbortController();
    const call = fetch(`${api.url}/v1/call/orders/place`, { method: "POST", body: "{}", signal: leave.signal });
    await expect(call).rejects.toThrow();
    await cancelled;
  });
});

describe("artifacts, blueprints and the cluster", () => {
  test("an artifact is stored once, by its coordinates", async () => {
    const path = "/v1/artifacts/demo:orders:1.0.0";
    expect((await send("PUT", path, "archive")).body.artifact).toBe("demo:orders:1.0.0");
    expect((await send("PUT", path, "archive")).status).toBe(200);
    expectRefusal(await send("PUT", path, "other"), 409, "E_CONFLICT");
    expect((await send("GET", "/v1/artifacts")).body.artifacts).toHaveLength(1);
    expect((await send("GET", path)).body).toEqual({ artifact: "demo:orders:1.0.0" });
    expectRefusal(await send("GET", "/v1/artifacts/demo:none:1.0.0"), 404, "E_NOT_FOUND");
    expectRefusal(await send("PUT", "/v1/artifacts/demo", "archive"), 400, "E_INVALID");
  });

  test("an artifact is removed by its coordinates", async () => {
    const path = "/v1/artifacts/demo:gone:1.0.0";
    await send("PUT", path, "archive");
    expect(await send("DELETE", path)).toMatchObject({ status: 200, body: { artifact: "demo:gone:1.0.0" } });
    expectRefusal(await send("DELETE", path), 404, "E_NOT_FOUND");
    expectRefusal(await send("DELETE", "/v1/artifacts/demo"), 400, "E_INVALID");
  });

  test("an archive may be larger than other bodies", async () => {
    expect((await send("PUT", "/v1/artifacts/demo:big:1.0.0", "x".repeat(3 * MiB))).status).toBe(200);
  });

  test("a blueprint is applied, shown, watched over and deleted", async () => {
    expect((await send("PUT", "/v1/blueprints/shop", { slices: {} })).body).toEqual({ name: "shop", revision: 1 });
    expect((await send("GET", "/v1/blueprints/shop")).body).toEqual({ slices: {} });
    expect((await send("GET", "/v1/blueprints/shop/status")).body.slices.orders.active).toBe(1);
    expect((await send("GET", "/v1/blueprints")).body.blueprints).toEqual([{ name: "shop", revision: 1 }]);
    const rolledBack = await send("POST", "/v1/blueprints/shop/rollback", { revision: 1 });
    expect(rolledBack.body).toEqual({ name: "shop", revision: 2, rolledBackTo: 1 });
    expect((await send("POST", "/v1/blueprints/shop/rollback")).body).toMatchObject({ revision: 3 });
    expectRefusal(await send("POST", "/v1/blueprints/shop/rollback", { revision: 0 }), 400, "E_INVALID");
    expectRefusal(await send("POST", "/v1/blueprints/shop/rollback", { to: 1 }), 400, "E_INVALID");
    expectRefusal(await send("POST", "/v1/blueprints/none/rollback"), 404, "E_NOT_FOUND");
    expect((await send("DELETE", "/v1/blueprints/shop")).body).toEqual({ name: "shop", revision: 3 });
    expectRefusal(await send("GET", "/v1/blueprints/shop"), 404, "E_NOT_FOUND");
    expectRefusal(await send("GET", "/v1/blueprints/shop/status"), 404, "E_NOT_FOUND");
  });

  test("the log of a slice is read from one node, from where an earlier answer ended", async () => {
    const path = "/v1/slices/orders/log";
    const { body } = await send("GET", path);
    expect(body).toMatchObject({ node: "n1", next: "7-2", isComplete: true });
    expect(body.lines[0]).toEqual({
      at: 1_700_000_000_000, instance: "demo:orders:1.0.0/0", level: "info", text: "order placed",
      fields: { fields: { id: 7 } },
    });
    expect((await send("GET", `${path}?limit=1`)).body.lines).toHaveLength(1);
    expect((await send("GET", `${path}?after=7-2`)).body.lines).toEqual([]);
    for (const query of ["limit=0", "limit=1001", "limit=x", "from=1"]) {
      expectRefusal(await send("GET", `${path}?${query}`), 400, "E_INVALID");
    }
    expectRefusal(await send("GET", "/v1/slices/none/log"), 404, "E_NOT_FOUND");
  });

  test("the log of a slice is read from all nodes, and says which of them did not answer", async () => {
    const path = "/v1/slices/orders/log?nodes=all";
    const { body } = await send("GET", path);
    const lines = [{ node: "n1", text: "order placed" }, { node: "n2" }];
    expect(body).toMatchObject({ node: "n1", lines, silent: ["n3"] });
    expect((await send("GET", `${path}&limit=1`)).body.lines).toMatchObject([{ node: "n2" }]);
    expectRefusal(await send("GET", `${path}&after=7-2`), 400, "E_INVALID");
    expectRefusal(await send("GET", "/v1/slices/orders/log?nodes=n2"), 400, "E_INVALID");
    expectRefusal(await send("GET", "/v1/slices/none/log?nodes=all"), 404, "E_NOT_FOUND");
  });

  test("a slice is scaled to a number of instances", async () => {
    const path = "/v1/slices/orders/scale";
    const scaled = await send("POST", path, { instances: 5 });
    expect(scaled.body).toEqual({ slice: "orders", instances: 5, minAvailable: 1, blueprint: "shop", revision: 3 });
    expectRefusal(await send("POST", path, { instances: "5" }), 400, "E_INVALID");
    expectRefusal(await send("POST", path, {}), 400, "E_INVALID");
    expectRefusal(await send("POST", "/v1/slices/none/scale", { instances: 5 }), 404, "E_NOT_FOUND");
  });

  test("the view of the cluster has nulls where nothing is known", async () => {
    const { body } = await send("GET", "/v1/cluster");
    expect(body).toMatchObject({ cluster: "demo", node: "n1", leader: { node: "n1", epoch: 3 } });
    expect(body).toMatchObject({ version: 1, voters: ["n1", "n9"], pending: null, quorum: { canLose: 0 } });
    const unknown = { address: null, peerAddress: null, slotsBehind: null, catchUp: null, supportedVersion: null };
    expect(body.nodes[1]).toMatchObject({ ...unknown, lastSeenMs: null, isLost: false });
  });

  test("members are added, promoted, removed and replaced", async () => {
    const address = "ws://127.0.0.1:7104";
    expect((await send("POST", "/v1/cluster/members", { node: "n4", address })).body).toEqual({
      node: "n4", change: "add",
    });
    const directory = "0123456789abcdef";
    for (const change of ["promote", "remove", "replace"]) {
      for (const sent of [undefined, { directory }]) {
        const { status, body } = await send("POST", `/v1/cluster/members/n4/${change}`, sent);
        expect([status, body]).toEqual([200, { node: "n4", change }]);
      }
    }
    expect(api.changes).toEqual([
      { kind: "add", node: "n4", address },
      ...["promote", "remove", "replace"].flatMap((kind) => [
        { kind, node: "n4" },
        { kind, node: "n4", uid: directory },
      ]),
    ]);
  });

  test("a change of members that cannot be is refused, with the reason", async () => {
    for (const body of [{}, { node: "n4" }, { node: "N 4", address: "ws://h:1" }, { node: "n4", address: "http://h" }]) {
      expectRefusal(await send("POST", "/v1/cluster/members", body), 400, "E_INVALID");
    }
    expectRefusal(await send("POST", "/v1/cluster/members/N 4/promote"), 400, "E_INVALID");
    for (const body of [{ directory: "n4" }, { directory: 4 }, { uid: "0123456789abcdef" }, []]) {
      expectRefusal(await send("POST", "/v1/cluster/members/n4/replace", body), 400, "E_INVALID");
    }
    expect(api.changes).toEqual([]);
    api.changeScript = () => Promise.reject(new AetherError("E_CONFLICT", "another change is under way"));
    const refused = await send("POST", "/v1/cluster/members/n4/remove");
    expectRefusal(refused, 409, "E_CONFLICT");
    expect(refused.body.error.message).toBe("another change is under way");
  });

  test("nodes are drained, by force too, and taken into duty again", async () => {
    const asked = [
      await send("POST", "/v1/nodes/n9/drain"),
      await send("POST", "/v1/nodes/n9/drain", { force: true }),
      await send("DELETE", "/v1/nodes/n9/drain"),
    ];
    expect(asked.map(({ status, body }) => [status, body.want])).toEqual([
      [202, "drained"], [202, "drained"], [202, "on-duty"],
    ]);
    expect(api.drains).toEqual([{ node: "n9", isForced: false }, { node: "n9", isForced: true }, { node: "n9" }]);
    expectRefusal(await send("POST", "/v1/nodes/N 4/drain"), 400, "E_INVALID");
    expectRefusal(await send("POST", "/v1/nodes/n9/drain", { forced: true }), 400, "E_INVALID");
  });

  test("probes and metrics", async () => {
    expect(await send("GET", "/readyz")).toMatchObject({ status: 200, body: { ready: true } });
    api.health.isReady = false;
    expect(await send("GET", "/readyz")).toMatchObject({ status: 503, body: { ready: false, reason: "catching up" } });
    expect((await send("GET", "/livez")).status).toBe(200);
    expect((await send("GET", "/metrics")).body).toContain("aether_up 1");
    expect(api.refusals()).toEqual([]);
  });

  test("the OpenAPI document names every path", async () => {
    const { body } = await send("GET", "/v1/openapi.json");
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining(["/v1/kv/{key}", "/v1/kv", "/v1/kv/txn", "/v1/kv/watch", "/v1/call/{slice}/{method}"]),
    );
    expect(body.paths["/v1/kv/txn"].post.requestBody.content["application/json"].schema.type).toBe("object");
  });
});

describe("what is much too long is refused without being looked at piece by piece", () => {
  test("a transaction", async () => {
    const then = Array.from({ length: 40_000 }, () => ({ op: "burn" }));
    const answer = await send("POST", "/v1/kv/txn", { then });
    expectRefusal(answer, 413, "E_TOO_LARGE");
    expect(answer.body.error.details).toEqual({ limit: 128, actual: 40_000 });
  });

  test("a mistake with a long name", async () => {
    const answer = await send("POST", "/v1/kv/txn", { ["x".repeat(100_000)]: 1 });
    expectRefusal(answer, 400, "E_INVALID");
    expect(JSON.stringify(answer.body).length).toBeLessThan(2_000);
  });
});

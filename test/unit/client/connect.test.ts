import { createServer, type Server } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { createDeferred } from "../../../src/base/deferred.ts";
import { AetherError } from "../../../src/base/errors.ts";
import type { ClientOp } from "../../../src/client/client-kv.ts";
import { connect, type Client } from "../../../src/client/connect.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { KvChangeSet } from "../../../src/kvstore/core/schema.ts";
import { defineContract, method } from "../../../src/sdk/contract.ts";
import type { CallReply } from "../../../src/slices/host/outgoing-calls.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { eventually } from "../../support/node-fleet.ts";
import { failWith, openApi, type ApiFixture } from "../api/api-fixture.ts";

let local: LocalKv;
let nodes: ApiFixture[];
let client: Client;

beforeEach(async () => {
  local = await createLocalKv();
  // Most tests close a node to lose it: what is under way there is to be cut off.
  const hasty = { apiCloseTimeoutMs: 50 };
  nodes = [await openApi("n1", local, hasty), await openApi("n2", local, hasty)];
  client = connect({ nodes: nodes.map(({ url }) => url) });
  // The first one is the one in use from here on.
  await client.kv.get("data/none", { consistency: "local" });
  if (client.node === "n2") nodes.reverse();
});

afterEach(async () => {
  client.close();
  for (const node of nodes) await node.close();
  await local.close();
});

function node(index: number): ApiFixture {
  return nodes[index] as ApiFixture;
}

async function putLocally(): Promise<void> {
  await local.kv.transact({ compare: [], then: [{ kind: "put", key: parseKeyText("data/a"), value: 0 }], else: [] });
}

describe("the store", () => {
  test("put, get, list, delete and transactions go there and back", async () => {
    expect(await client.kv.put("data/a", { n: 1, raw: Buffer.of(1, 2) })).toEqual({ revision: 1 });
    const { entry, revision } = await client.kv.get("data/a");
    expect(entry).toMatchObject({ key: "data/a", modRevision: 1, version: 1, value: { n: 1, raw: Buffer.of(1, 2) } });
    expect(revision).toBe(1);
    await client.kv.put("data/b", 2);
    const page = await client.kv.list({ prefix: "data/", limit: 1 });
    expect([page.entries.map(({ key }) => key), page.more]).toEqual([["data/a"], true]);
    const txn = await client.kv.transact({
      compare: [{ key: "data/a", target: "exists", op: "=", value: true }],
      then: [{ kind: "delete", key: "data/a" }, { kind: "get", key: "data/b" }, { kind: "get", key: "data/none" }],
    });
    expect(txn).toMatchObject({ succeeded: true, revision: 3 });
    expect(txn.results).toMatchObject([
      { kind: "delete", deleted: true },
      { kind: "get", entry: { value: 2 } },
      { kind: "get" },
    ]);
    expect(await client.kv.delete("data/a")).toMatchObject({ deleted: false });
    expect((await client.kv.get("data/a", { consistency: "local" })).entry).toBeUndefined();
  });

  test("the past can be read, and a long listing is of one revision whatever is written meanwhile", async () => {
    const then = (value: number): ClientOp[] =>
      Array.from({ length: 100 }, (_, at) => ({ kind: "put", key: `data/k/${String(at).padStart(3, "0")}`, value }));
    for (let round = 1; round <= 3; round++) await client.kv.transact({ compare: [], then: then(round) });
    expect((await client.kv.get("data/k/000", { revision: 2 })).entry).toMatchObject({ value: 2, modRevision: 2 });
    const first = await client.kv.list({ prefix: "data/k/", limit: 40 });
    await client.kv.transact({ compare: [], then: then(4) });
    const rest = await client.kv.list({ prefix: "data/k/", after: "data/k/039", revision: first.revision });
    expect(new Set([...first.entries, ...rest.entries].map(({ value }) => value))).toEqual(new Set([3]));
    expect([first.revision, rest.revision, rest.entries.length]).toEqual([3, 3, 60]);
    const values: unknown[] = [];
    for await (const { value } of client.kv.entries("data/k/")) values.push(value);
    expect(values).toEqual(Array.from({ length: 100 }, () => 4));
  });

  test("a condition that does not hold is E_CONFLICT with what was found", async () => {
    await client.kv.put("data/a", 1, { ifModRevision: 0 });
    const stale = client.kv.put("data/a", 2, { ifModRevision: 0 });
    await expect(stale).rejects.toMatchObject({ code: "E_CONFLICT", details: { modRevision: 1 } });
    expect(await client.kv.put("data/a", 2, { ifModRevision: 1 })).toEqual({ revision: 2 });
  });

  test.each([
    ["a system key", () => client.kv.put("nodes/n1/state", 1), "E_FORBIDDEN"],
    ["no key", () => client.kv.get("nonsense"), "E_INVALID"],
    ["a value that is no data", () => client.kv.put("data/a", () => 1), "E_INVALID"],
    ["a value too large", () => client.kv.put("data/a", "x".repeat(600_000)), "E_TOO_LARGE"],
  ])("%s is refused, and others go on", async (_what, act, code) => {
    const other = client.kv.put("data/other", 1);
    await expect(act()).rejects.toMatchObject({ code });
    await other;
  });

  test("many writes at once are all answered", async () => {
    const writes = Array.from({ length: 2_000 }, (_, index) => client.kv.put(`data/many/${index % 50}`, index));
    const revisions = new Set((await Promise.all(writes)).map(({ revision }) => revision));
    expect(revisions.size).toBe(2_000);
  });

  test("one request too many is refused at once", async () => {
    local.group.setMode("silent");
    const waiting = Array.from({ length: 4_096 }, () => client.kv.put("data/a", 1));
    await expect(client.kv.put("data/a", 1)).rejects.toMatchObject({ code: "E_OVERLOADED", outcome: "not-applied" });
    local.group.setMode("deciding");
    await Promise.all(waiting);
  });

  test("a watch delivers changes after the revision it names", async () => {
    await client.kv.put("data/w/before", 1);
    const seen: unknown[] = [];
    const arrived = new Promise<void>((resolve) => {
      void client.kv
        .watch("data/w/", {
          onChanges: (changes) => {
            seen.push(changes);
            if (seen.length === 2) resolve();
          },
          onEnd: () => undefined,
        })
        .then(async (watch) => {
          expect(watch.revision).toBe(1);
          await client.kv.put("data/w/a", 1);
          await client.kv.delete("data/w/a");
        });
    });
    await arrived;
    expect(seen).toMatchObject([
      { revision: 2, changes: [{ kind: "put", entry: { key: "data/w/a", value: 1 } }] },
      { revision: 3, changes: [{ kind: "delete", key: "data/w/a", modRevision: 3 }] },
    ]);
  });
});

describe("deadlines and aborts", () => {
  test("a write without answer is E_TIMEOUT, outcome unknown", async () => {
    await client.kv.put("data/a", 1);
    local.group.setMode("silent");
    const write = client.kv.put("data/a", 1, { timeoutMs: 50 });
    await expect(write).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
  });

  test("a write that never left, because no session could be opened, is not applied", async () => {
    local.group.setMode("silent");
    const write = client.kv.put("data/a", 1, { timeoutMs: 50 });
    await expect(write).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "not-applied" });
  });

  test("a read without answer has no outcome", async () => {
    local.group.setMode("silent");
    const read = client.kv.get("data/a", { timeoutMs: 50 });
    await expect(read).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: undefined });
  });

  test("an aborted call rejects with the reason and reaches the node", async () => {
    const leave = new AbortController();
    const cancelled = new Promise<void>((resolve) => {
      node(0).script = (_call, signal) =>
        new Promise(() => {
          signal?.addEventListener("abort", () => resolve());
          leave.abort("enough");
        });
    });
    await expect(client.call({ slice: "orders", method: "place", signal: leave.signal })).rejects.toBe("enough");
    await cancelled;
    await expect(client.kv.get("data/a", { signal: AbortSignal.abort("before") })).rejects.toBe("before");
  });
});

describe("what cannot be sent", () => {
  test.each([0, NaN, Infinity, 1e12])("a patience of %s ms is refused, nothing else disturbed", async (timeoutMs) => {
    const neighbour = client.kv.put("data/a", 1);
    await expect(client.kv.get("data/a", { timeoutMs })).rejects.toMatchObject({ code: "E_INVALID" });
    expect(await neighbour).toEqual({ revision: 1 });
  });

  test("arguments of a wrong type fail alone, and writes on the same connection are answered", async () => {
    await client.kv.put("data/a", 1);
    const neighbour = client.kv.put("data/a", 2);
    const wrong = [
      client.kv.list({ prefix: "data/", limit: 1.5 }),
      // As a caller without types would write it.
      client.kv.get(undefined as never),
      client.kv.get("data/a", { consistency: "strong" as never }),
      client.call({ slice: 7 as never, method: "x" }),
      client.call({ slice: "orders", method: "place", input: () => 1 }),
    ];
    await expect(wrong.at(-1)).rejects.toMatchObject({ details: { class: "not-sent" } });
    for (const answer of wrong) await expect(answer).rejects.toMatchObject({ code: "E_INVALID" });
    expect(await neighbour).toEqual({ revision: 2 });
    expect(node(0).log.filter(({ event }) => event === "api.session_garbage")).toEqual([]);
  });
});

describe("losing a node", () => {
  test("requests go on over the next one", async () => {
    await client.kv.put("data/a", 1);
    await node(0).close();
    expect((await client.kv.get("data/a")).entry?.value).toBe(1);
    await client.kv.put("data/a", 2);
  });

  test("a read and a write under way are sent again elsewhere, and the write is applied once", async () => {
    await client.kv.put("data/other", 1);
    local.group.setMode("silent");
    const read = client.kv.get("data/other");
    const write = client.kv.put("data/a", 1);
    await client.kv.get("data/a", { consistency: "local" });
    await node(0).close();
    await eventually("the other node is in use", () => client.node === node(1).name || undefined);
    local.group.setMode("deciding");
    expect(await write).toEqual({ revision: 2 });
    expect((await read).entry?.value).toBe(1);
    expect(await client.kv.get("data/a")).toMatchObject({ revision: 2, entry: { version: 1 } });
  });

  test("a call under way is repeated only if its effect allows it", async () => {
    const under = new Promise<void>((resolve) => {
      node(0).script = () => {
        if (node(0).calls.length === 3) resolve();
        return new Promise(() => undefined);
      };
    });
    const read = client.call({ slice: "pricing", method: "quote", effect: "read" });
    const write = client.call({ slice: "orders", method: "place", effect: "write" });
    const keyed = client.call({ slice: "stock", method: "reserve", effect: "write", idempotencyKey: "k" });
    const outcome = expect(write).rejects.toMatchObject({
      code: "E_TIMEOUT", outcome: "unknown", details: { class: "no-answer" },
    });
    await under;
    await node(0).close();
    await outcome;
    expect(await read).toEqual({ output: { echo: undefined }, attempts: 1, isReplayed: false });
    await keyed;
    expect(node(1).calls).toMatchObject([{ slice: "pricing" }, { slice: "stock", idempotencyKey: "k" }]);
  });

  test("a node that stops in order gets no new calls, and answers those under way, writes too", async () => {
    const leaving = await openApi("n3", local);
    const other = connect({ nodes: [leaving.url, node(1).url] });
    onTestFinished(() => other.close());
    await eventually("it is in use", async () => {
      await other.kv.get("data/none", { consistency: "local" });
      if (other.node === "n3") return true;
      // It picked the other one; when that is not ready, it moves.
      node(1).health.isReady = false;
      return undefined;
    });
    node(1).health.isReady = true;
    const answer = createDeferred<CallReply>();
    leaving.script = () => answer.promise;
    const write = other.call({ slice: "orders", method: "place", effect: "write" });
    await eventually("it is under way", () => leaving.calls.length === 1 || undefined);
    const closing = leaving.close();
    await eventually("the client has moved", () => other.node === node(1).name || undefined);
    await other.call({ slice: "orders", method: "place", effect: "write" });
    expect([leaving.calls.length, node(1).calls.length]).toEqual([1, 1]);
    answer.resolve({ kind: "ok", output: 7, attempts: 1 });
    expect(await write).toEqual({ output: 7, attempts: 1, isReplayed: false });
    await closing;
  });

  test("a node that is not ready is passed over", async () => {
    node(0).health.isReady = false;
    const other = connect({ nodes: nodes.map(({ url }) => url) });
    await other.call({ slice: "orders", method: "place" });
    expect([node(0).calls.length, node(1).calls.length]).toEqual([0, 1]);
    other.close();
  });

  test("its watches go on at another one: nothing lost, nothing twice", async () => {
    const seen: number[] = [];
    const ended: Error[] = [];
    const handlers = {
      onChanges: ({ revision }: KvChangeSet) => seen.push(revision),
      onEnd: (reason: Error) => ended.push(reason),
    };
    await client.kv.watch("data/", handlers);
    for (let count = 1; count <= 5; count++) await client.kv.put("data/a", count);
    const closing = node(0).close();
    await putLocally();
    await closing;
    await putLocally();
    await eventually("all are seen", () => seen.length >= 7 || undefined);
    expect([seen, ended]).toEqual([[1, 2, 3, 4, 5, 6, 7], []]);
  });

  test("a watch that nothing matches goes on from its last progress", async () => {
    const progress: number[] = [];
    const ended: Error[] = [];
    const watch = await client.kv.watch("nodes/", {
      onChanges: () => expect.fail("nothing matches"),
      onProgress: (revision) => progress.push(revision),
      onEnd: (reason) => ended.push(reason),
    });
    await client.kv.put("data/a", 1);
    watch.requestProgress();
    await eventually("progress", () => progress.includes(1) || undefined);
    await node(0).close();
    await putLocally();
    await eventually("progress elsewhere", () => {
      watch.requestProgress();
      return progress.includes(2) || undefined;
    });
    watch.cancel();
    expect(ended).toEqual([]);
  });

  test("a watch ends when the client is closed, and when what it missed is not held any more", async () => {
    const ends: unknown[] = [];
    const onEnd = (reason: Error): void => void ends.push(reason instanceof AetherError ? reason.code : reason);
    await client.kv.watch("data/", { onChanges: () => undefined, onEnd });
    client.close();
    await eventually("it has ended", () => ends.length === 1 || undefined);
    const other = connect({ nodes: nodes.map(({ url }) => url) });
    onTestFinished(() => other.close());
    const value = "x".repeat(500_000);
    for (let count = 0; count < 40; count++) await other.kv.put("data/a", value);
    const tooLate = other.kv.watch("data/", { onChanges: () => undefined, onEnd }, { fromRevision: 1 });
    await expect(tooLate).rejects.toMatchObject({ code: "E_COMPACTED" });
    expect(ends).toEqual(["E_UNAVAILABLE"]);
  });

  test("no node at all fails at the deadline, with the reason", async () => {
    const nobody = connect({ nodes: ["ws://127.0.0.1:1"] });
    const write = nobody.kv.put("data/a", 1, { timeoutMs: 200 });
    await expect(write).rejects.toMatchObject({ code: "E_UNAVAILABLE", outcome: "not-applied" });
    nobody.close();
  });

  test("a node that has no quorum is left for one that may have", async () => {
    await client.kv.put("data/a", 1);
    local.group.setMode("no-quorum");
    const write = client.kv.put("data/a", 2);
    const stuck = client.kv.put("data/b", 2, { timeoutMs: 1_000 });
    await expect(stuck).rejects.toMatchObject({ code: "E_NO_QUORUM", outcome: "not-applied" });
    local.group.setMode("deciding");
    expect(await write).toEqual({ revision: 2 });
  });

  test("nodes that the caller never named are learned from the cluster", async () => {
    node(0).others.push(node(1).url);
    const other = connect({ nodes: [node(0).url] });
    const kept = connect({ nodes: [node(0).url], discovery: "off" });
    onTestFinished(() => [other, kept].forEach((opened) => opened.close()));
    await Promise.all([other.kv.put("data/a", 1), kept.kv.put("data/b", 1)]);
    const served = node(1).name;
    await node(0).close();
    expect(await other.kv.get("data/a")).toMatchObject({ entry: { value: 1 } });
    expect(other.node).toBe(served);
    const lost = kept.kv.get("data/a", { timeoutMs: 300 });
    await expect(lost).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
  });

  test("a node that stops being ready is left for another one", async () => {
    node(0).health.isReady = false;
    await eventually("the client has moved", () => client.node === node(1).name || undefined);
  });

  test("a write refused for overload is sent again within its deadline, and its outcome is known", async () => {
    local.group.setMode("full");
    const patient = client.kv.put("data/a", 1, { timeoutMs: 20_000 });
    const hasty = client.kv.put("data/b", 1, { timeoutMs: 100 });
    await expect(hasty).rejects.toMatchObject({ code: "E_OVERLOADED", outcome: "not-applied" });
    local.group.setMode("deciding");
    expect(await patient).toEqual({ revision: 1 });
  });

  test("a server that speaks something else is left at once", async () => {
    const stranger = createServer((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    await listen(stranger);
    const { port } = stranger.address() as AddressInfo;
    const other = connect({ nodes: [`http://127.0.0.1:${port}`, node(1).url] });
    expect(await other.kv.put("data/a", 1)).toEqual({ revision: 1 });
    other.close();
    stranger.close();
  });

  test("closing rejects what is under way and what comes later", async () => {
    await client.kv.put("data/a", 1);
    local.group.setMode("silent");
    await client.kv.get("data/a", { consistency: "local" });
    const write = client.kv.put("data/a", 1);
    client.close();
    await expect(write).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
    await expect(client.kv.get("data/a")).rejects.toMatchObject({ code: "E_UNAVAILABLE" });
    local.group.setMode("deciding");
  });
});

describe("leases", () => {
  test("a key goes with its lease, and a lease that is revoked says so", async () => {
    const lease = await client.kv.lease({ ttlMs: 5_000 });
    await client.kv.put("data/here", "n1", { lease });
    await client.kv.transact({ compare: [], then: [{ kind: "put", key: "data/too", value: 1, lease: lease.id }] });
    expect(local.kv.lease(lease.id)).toMatchObject({ ttlMs: 5_000, keys: 2 });
    await lease.revoke();
    expect(lease.lost.reason).toMatchObject({ code: "E_NOT_FOUND" });
    expect((await client.kv.list({ prefix: "data/" })).entries).toEqual([]);
    await lease.revoke();
  });

  test("it is renewed by itself, through whatever node there is", async () => {
    const lease = await client.kv.lease({ ttlMs: 1_000 });
    await node(0).close();
    await eventually("it was renewed twice", () => (local.kv.lease(lease.id)?.renewals ?? 0) >= 2 || undefined);
    expect(lease.lost.aborted).toBe(false);
  });

  test("one that ended behind its holder's back is reported lost", async () => {
    const lease = await client.kv.lease({ ttlMs: 1_000 });
    await local.kv.revokeLease(lease.id);
    await eventually("it is lost", () => lease.lost.aborted || undefined);
    expect(lease.lost.reason).toMatchObject({ code: "E_NOT_FOUND" });
    await expect(client.kv.put("data/a", 1, { lease })).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("one that nobody can renew is given up when its time is over, and with its client", async () => {
    const lease = await client.kv.lease({ ttlMs: 1_000 });
    const other = await client.kv.lease({ ttlMs: 60_000 });
    local.group.setMode("silent");
    await eventually("it is lost", () => lease.lost.aborted || undefined);
    expect(lease.lost.reason).toMatchObject({ code: "E_TIMEOUT" });
    client.close();
    expect(other.lost.reason).toMatchObject({ code: "E_UNAVAILABLE" });
    local.group.setMode("deciding");
  });

  test.each([999, 1.5, 1e9])("a time of %s ms is refused", async (ttlMs) => {
    await expect(client.kv.lease({ ttlMs })).rejects.toMatchObject({ code: "E_INVALID", outcome: "not-applied" });
  });
});

describe("slices", () => {
  const orders = defineContract("orders", {
    place: method({ input: z.object({ sku: z.string() }), output: z.object({ echo: z.unknown() }), timeoutMs: 900 }),
    count: method({ input: z.void(), output: z.number(), effect: "read" }),
  });

  test("a contract gives typed functions with its own deadlines", async () => {
    const answer = await client.slice(orders).place({ sku: "tea" });
    expect(answer).toEqual({ echo: { sku: "tea" } });
    expect(node(0).calls[0]).toMatchObject({ slice: "orders", method: "place", input: { sku: "tea" } });
    expect(node(0).calls[0]?.timeoutMs).toBeLessThanOrEqual(900);
  });

  test("no input stays no input", async () => {
    await client.slice(orders).count();
    expect(node(0).calls[0]).toMatchObject({ method: "count", input: undefined });
  });

  test("an input that does not match fails before it travels", async () => {
    // @ts-expect-error the contract wants a text
    const call = client.slice(orders).place({ sku: 1 });
    await expect(call).rejects.toMatchObject({
      code: "E_INVALID", details: { issues: [{ path: ["sku"] }], class: "not-sent" },
    });
    expect(node(0).calls).toEqual([]);
  });

  test("errors of the callee arrive with code, outcome and details", async () => {
    const error = { code: "E_HANDLER", message: "sold out", outcome: "unknown", details: { name: "Stock" } } as const;
    node(0).script = failWith(error);
    await expect(client.slice(orders).place({ sku: "tea" })).rejects.toMatchObject(error);
  });

  test("the class of a failed call is the node's, but one in doubt stays in doubt", async () => {
    const refusal = { code: "E_INVALID", message: "no", details: { class: "not-started" } } as const;
    node(0).script = failWith({ ...refusal, outcome: "not-applied" });
    await expect(client.slice(orders).place({ sku: "tea" })).rejects.toMatchObject(refusal);
    node(0).script = failWith({ ...refusal, outcome: "unknown" });
    await expect(client.slice(orders).place({ sku: "tea" })).rejects.toMatchObject({ details: { class: "no-answer" } });
  });
});

test.each([[[]], [["tcp://x"]], [["nonsense"]]])("connecting to %j is refused", (addresses) => {
  expect(() => connect({ nodes: addresses })).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
});

async function listen(server: Server): Promise<void> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}

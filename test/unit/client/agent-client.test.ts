import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { z } from "zod";
import { API_SINCE, nodeHelloFields, SESSION_PATH } from "../../../src/api/protocol.ts";
import { encode } from "../../../src/base/codec.ts";
import { AetherError } from "../../../src/base/errors.ts";
import { parseJobId } from "../../../src/base/ids.ts";
import { connect, type Client } from "../../../src/client/connect.ts";
import { defineAgent } from "../../../src/sdk/agent.ts";
import { defineSignal } from "../../../src/sdk/signal.ts";
import { askedBy } from "../../support/scripted-jobs.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { openApi, type ApiFixture } from "../api/api-fixture.ts";

const claims = defineAgent({
  name: "claims",
  input: z.object({ order: z.string(), cents: z.number().default(1) }),
  output: z.object({ paid: z.boolean() }),
  run: () => ({ paid: true }),
});
const documents = defineSignal("documents", z.object({ url: z.string() }));

let local: LocalKv;
let api: ApiFixture;
let client: Client;

beforeEach(async () => {
  local = await createLocalKv();
  api = await openApi("n1", local, { apiCloseTimeoutMs: 50 });
  client = connect({ nodes: [api.url] });
});

afterEach(async () => {
  client.close();
  await api.close();
  await local.close();
});

describe("many jobs", () => {
  test("are listed by filters, and the same is done to all of them", async () => {
    const agent = client.agent(claims);
    const ids = [];
    for (const id of ["a", "b"]) {
      ids.push((await agent.start({ order: id }, { id, attributes: { shop: "north & south" } })).id);
    }
    await agent.start({ order: "c" }, { id: "c" });
    const filter = { agent: "claims", attributes: { shop: "north & south" } };
    const page = await client.jobs.list({ ...filter, limit: 1, createdAfter: new Date(0) });
    expect(page).toMatchObject({ jobs: [{ job: "b", agent: "claims" }], more: true, next: "b" });
    expect(await client.jobs.list({ ...filter, order: "oldest", limit: 1 })).toMatchObject({ next: "a" });
    expect((await client.jobs.list({ waiting: "unknown" })).jobs).toEqual([]);
    const cancel = { action: { kind: "cancel" }, ...filter } as const;
    expect(await client.jobs.bulk({ ...cancel, dryRun: true })).toMatchObject({ jobs: ids, skipped: 0, more: false });
    expect(api.jobs.told).toEqual([]);
    expect(await client.jobs.bulk(cancel)).toMatchObject({ jobs: ids, failed: [], revision: page.revision });
    expect(api.jobs.told).toEqual(ids.map((job) => ({ kind: "cancel", job })));
    await expect(client.jobs.bulk({ action: { kind: "cancel" } })).rejects.toMatchObject({ code: "E_INVALID" });
    await expect(client.jobs.list({ limit: 0 })).rejects.toMatchObject({ code: "E_INVALID" });
  });
});

describe("starting", () => {
  test("a job begins with what was given, under a key of its own", async () => {
    const job = await client.agent(claims).start({ order: "o-1" }, {
      attributes: { shop: "north" }, maxDuration: "5 minutes",
    });
    expect(await job.state()).toMatchObject({ job: job.id, agent: "claims", attributes: { shop: "north" } });
    expect(api.jobs.started).toMatchObject([
      { agent: "claims", input: { order: "o-1" }, maxDurationMs: 300_000 },
    ]);
    const other = await client.agent(claims).start({ order: "o-1" });
    expect(other.id).not.toBe(job.id);
  });

  test("the same key again is the same job, another input under it is refused", async () => {
    const agent = client.agent(claims);
    const job = await agent.start({ order: "o-1" }, { idempotencyKey: "k" });
    expect((await agent.start({ order: "o-1" }, { idempotencyKey: "k" })).id).toBe(job.id);
    await expect(agent.start({ order: "o-2" }, { idempotencyKey: "k" })).rejects.toMatchObject({ code: "E_CONFLICT" });
  });

  test("an input that the agent does not take does not travel", async () => {
    const wrong = client.agent(claims).start({ order: 7 } as never);
    await expect(wrong).rejects.toMatchObject({ code: "E_INVALID", message: expect.stringContaining("order") });
    expect(api.jobs.started).toEqual([]);
  });

  test("a node of an older version is named, and nothing is sent", async () => {
    const old = new WebSocketServer({ host: "127.0.0.1", port: 0, path: SESSION_PATH });
    await once(old, "listening");
    let frames = 0;
    old.on("connection", (socket) => socket.on("message", () => {
      const hello = { kind: "welcome", version: API_SINCE - 1, node: "n0", isReady: true } as const;
      if (++frames === 1) socket.send(encode(nodeHelloFields(hello)));
    }));
    const asking = connect({ nodes: [`http://127.0.0.1:${(old.address() as AddressInfo).port}`] });
    try {
      await expect(asking.agent(claims).start({ order: "o" })).rejects.toMatchObject({
        code: "E_VERSION", outcome: "not-applied", message: expect.stringContaining("n0"),
      });
    } finally {
      asking.close();
      old.close();
    }
  });

  test("bytes are refused: what a job gets is JSON", async () => {
    const raw = defineAgent({ name: "raw", input: z.unknown(), output: z.unknown(), run: () => null });
    for (const input of [Buffer.of(1), { deep: [new Uint8Array(2)] }]) {
      await expect(client.agent(raw).start(input)).rejects.toMatchObject({ code: "E_INVALID" });
    }
    await expect(client.agent(raw).start({ n: 1n })).rejects.toMatchObject({ code: "E_INVALID" });
    expect(api.jobs.started).toEqual([]);
  });
});

describe("the end of a job", () => {
  test("its result is waited for", async () => {
    const job = await client.agent(claims).start({ order: "o-1" });
    const result = job.result();
    api.jobs.end(parseJobId(job.id), { kind: "completed", output: { paid: true } });
    expect((await result).paid).toBe(true);
    expect(await client.job(job.id).outcome()).toEqual({ kind: "completed", output: { paid: true } });
  });

  test("a failure and a cancel are told as errors that have the outcome", async () => {
    const [failed, cancelled] = [await client.agent(claims).start({ order: "a" }), await start("b")];
    api.jobs.end(parseJobId(failed.id), { kind: "failed", error: { name: "Error", message: "no money" } });
    api.jobs.end(parseJobId(cancelled.id), { kind: "cancelled" });
    await expect(failed.result()).rejects.toMatchObject({
      code: "E_HANDLER", message: `job ${failed.id} failed: Error: no money`,
      details: { outcome: { kind: "failed" } },
    });
    await expect(cancelled.result()).rejects.toMatchObject({ details: { outcome: { kind: "cancelled" } } });
  });

  test("a wait has its own end", async () => {
    const job = await start("a");
    await expect(job.result({ timeoutMs: 20 })).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: undefined });
    const stop = new AbortController();
    const waiting = job.result({ signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  test("a wait goes on at the next node when its own stops", async () => {
    const second = await openApi("n2", local, { apiCloseTimeoutMs: 50 });
    api.others.push(second.url);
    const both = connect({ nodes: [api.url, second.url] });
    try {
      await both.kv.get("data/a", { consistency: "local" });
      const [first, other] = both.node === "n1" ? [api, second] : [second, api];
      for (const { jobs } of [first, other]) {
        await jobs.start({ agent: "claims", input: {}, id: parseJobId("w") }, { principal: "x", tenant: "t" });
      }
      const result = both.agent(claims).job("w").result();
      // Answered after the wait has begun: requests of one connection begin in their order.
      await both.kv.get("data/a", { consistency: "local" });
      await first.close();
      other.jobs.end(parseJobId("w"), { kind: "completed", output: { paid: false } });
      expect(await result).toEqual({ paid: false });
    } finally {
      both.close();
      await second.close();
    }
  });

  test("a job that nobody knows is told at once", async () => {
    await expect(client.job("none").result()).rejects.toMatchObject({ code: "E_NOT_FOUND" });
    await expect(client.job("none").state()).rejects.toBeInstanceOf(AetherError);
  });
});

describe("telling a job something", () => {
  test("signals arrive with their payload and a key", async () => {
    const job = await start("a");
    await job.signal(documents, { url: "https://example.org/1" });
    await job.signal(documents, { url: "https://example.org/2" }, { idempotencyKey: "mail-2" });
    await job.cancel();
    expect(api.jobs.told).toMatchObject([
      { kind: "signal", name: "documents", payload: { url: "https://example.org/1" }, key: expect.any(String) },
      { kind: "signal", name: "documents", payload: { url: "https://example.org/2" }, key: "mail-2" },
      { kind: "cancel", job: job.id },
    ]);
  });

  test("what it asks is decided, in the name of who is at the door", async () => {
    const [job, other] = [await start("a"), await start("b")];
    for (const { id } of [job, other]) api.jobs.addApproval(parseJobId(id), askedBy(parseJobId(id)));
    await job.approve("manager", { data: { note: "fine" } });
    await other.reject("manager");
    const principal = "anonymous";
    expect(api.jobs.told).toMatchObject([
      { kind: "decision", job: job.id, approved: true, data: { note: "fine" }, principal },
      { kind: "decision", job: other.id, approved: false, data: null, principal },
    ]);
    await expect(job.approve("nobody")).rejects.toMatchObject({ code: "E_NOT_FOUND" });
  });

  test("a payload that is none of the signal does not travel", async () => {
    const job = await start("a");
    await expect(job.signal(documents, {} as never)).rejects.toMatchObject({ code: "E_INVALID" });
    expect(api.jobs.told).toEqual([]);
  });
});

function start(order: string): ReturnType<ReturnType<Client["agent"]>["start"]> {
  return client.agent(claims).start({ order });
}

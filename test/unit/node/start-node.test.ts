import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { parseNodeId } from "../../../src/base/ids.ts";
import type { Clock } from "../../../src/env/clock.ts";
import type { Env } from "../../../src/env/env.ts";
import type { OrderedStore, StorePort } from "../../../src/env/store.ts";
import { parseKeyText } from "../../../src/kvstore/core/key.ts";
import type { NodeConfig } from "../../../src/node/config.ts";
import { type Node, startNode } from "../../../src/node/node.ts";
import { createRealEnv } from "../../../src/node/real-env.ts";
import { createOpBatch } from "../../../src/storage/op-batch.ts";
import { createMemoryStorePort } from "../../../src/storage/memory-store.ts";
import { createOrderedLogPort } from "../../../src/storage/ordered-append-log.ts";
import { soleNodeConfig } from "../../support/sole-node.ts";

const KEY = parseKeyText("data/a");
const DAMAGE = new AetherError("E_DATA_CORRUPT", "damaged, for this test");

let dataDir: string;
let config: NodeConfig;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "aether-node-"));
  config = soleNodeConfig(dataDir);
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

/** A real environment, over stores that `wrap` makes of memory stores. */
function openEnv(port: StorePort, wrap: (name: string, store: OrderedStore) => Partial<OrderedStore>): Env {
  const env = createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "memory", logLevel: "silent" });
  const open = async (name: string): Promise<OrderedStore> => {
    const store = await port.open(name);
    const wrapped = { ...passing(store), ...wrap(name, store) };
    return { ...wrapped, begin: () => createOpBatch(wrapped) };
  };
  const store = { ...port, open };
  return { ...env, store, logs: createOrderedLogPort(store) };
}

function passing(store: OrderedStore): OrderedStore {
  return {
    getSync: (key) => store.getSync(key),
    write: (ops, done) => store.write(ops, done),
    begin: () => store.begin(),
    entries: (range) => store.entries(range),
    close: () => store.close(),
  };
}

const memoryPort = (): StorePort => createMemoryStorePort({ defer: setImmediate });

async function startAndPut(env: Env): Promise<Node> {
  const node = await startNode(config, env);
  await node.ready();
  await node.kv.transact({ compare: [], then: [{ kind: "put", key: KEY, value: 1 }], else: [] });
  return node;
}

describe("a node", () => {
  test("whose state fails while it opens is refused with the reason, and leaves nothing open", async () => {
    const port = memoryPort();
    // Its checkpoints are lost, so that the next start applies the journal again.
    const first = await startAndPut(
      openEnv(port, (name) => (name === "kv" ? { write: (_ops, done) => setImmediate(done) } : {})),
    );
    await first.stop();
    const damaged = openEnv(port, (name, store) => {
      if (name !== "kv") return {};
      return {
        getSync: (key) => {
          if (Buffer.from(key).toString() === KEY) throw DAMAGE;
          return store.getSync(key);
        },
      };
    });
    await expect(startNode(config, damaged)).rejects.toMatchObject({ code: "E_DATA_CORRUPT" });
    for (const name of ["wal", "kv"]) await (await port.open(name)).close();
  });

  test("that cannot close a part still ends, with that as its reason", async () => {
    const failure = new AetherError("E_DISK", "no close, for this test");
    const env = openEnv(memoryPort(), (name) => (name === "kv" ? { close: () => Promise.reject(failure) } : {}));
    const node = await startAndPut(env);
    await node.stop();
    expect(await node.ended).toBe(failure);
  });

  test("that fails while it runs ends with the reason, whatever closing says", async () => {
    let isFailing = false;
    const env = openEnv(memoryPort(), (name, store) => {
      if (name === "kv") return { close: () => Promise.reject(new AetherError("E_DISK", "no close, for this test")) };
      return { write: (ops, done) => (isFailing ? setImmediate(() => done(DAMAGE)) : store.write(ops, done)) };
    });
    const node = await startAndPut(env);
    isFailing = true;
    const put = node.kv.transact({ compare: [], then: [{ kind: "put", key: KEY, value: 2 }], else: [] });
    await expect(put).rejects.toMatchObject({ code: "E_TIMEOUT", outcome: "unknown" });
    expect(await node.ended).toMatchObject({ code: "E_DISK", cause: DAMAGE });
    await node.stop();
  });

  test("serves without its past when that is damaged or of an earlier layout, and begins a new one", async () => {
    const onDisk = (): Env =>
      createRealEnv({ node: parseNodeId("n1"), dataDir, durability: "fsync", logLevel: "silent" });
    const start = async (): Promise<Node> => {
      const node = await startNode({ ...config, durability: "fsync" }, onDisk());
      await node.ready();
      return node;
    };
    const put = async (node: Node): Promise<number> => {
      const txn = { compare: [], then: [{ kind: "put" as const, key: KEY, value: 1 }], else: [] };
      return (await node.kv.transact(txn)).revision;
    };
    const first = await start();
    const early = await put(first);
    await first.stop();

    // What is on the disk is found again, by the next process.
    const second = await start();
    expect(second.kv.oldestRevision).toBeLessThanOrEqual(early);
    await second.stop();

    const old = await onDisk().store.open("history");
    await old.close();
    const [segment = ""] = (await readdir(join(dataDir, "past"))).filter((name) => name.endsWith(".seg"));
    const path = join(dataDir, "past", segment);
    const bytes = await readFile(path);
    bytes.writeUInt8(bytes.readUInt8(600) ^ 1, 600);
    await writeFile(path, bytes);
    const third = await start();
    expect(third.kv.oldestRevision).toBeGreaterThan(early);
    expect(await readdir(dataDir)).not.toContain("history");
    const late = await put(third);
    expect(third.kv.oldestRevision).toBeLessThanOrEqual(late);
    await third.stop();
  });
});

/** Time that passes so many times as fast as it does, for waits that are long on purpose. */
const FASTER = 20;

function hurried(clock: Clock): Clock {
  const startMs = clock.nowMs();
  const ahead = (): number => (clock.nowMs() - startMs) * (FASTER - 1);
  return {
    ...clock,
    nowMs: () => clock.nowMs() + ahead(),
    wallMs: () => clock.wallMs() + ahead(),
    setTimer: (delayMs, fire) => clock.setTimer(delayMs / FASTER, fire),
    sleep: (delayMs, signal) => clock.sleep(delayMs / FASTER, signal),
  };
}

test.each(["on", "off"] as const)(
  "a node whose disk stands still is not ready, and is again when it goes on; metrics are %s (M5)", async (collect) => {
    let held: (() => void)[] | undefined;
    const env = openEnv(memoryPort(), (_name, store) => ({
      write: (ops, done) => {
        const write = (): void => store.write(ops, done);
        if (held === undefined) write();
        else held.push(write);
      },
    }));
    const metrics = { ...config.metrics, collect };
    const node = await startNode({ ...config, metrics }, { ...env, clock: hurried(env.clock) });
    await node.ready();
    const readiness = async (): Promise<{ readonly status: number; readonly reason?: string }> => {
      const response = await fetch(`${node.apiUrl}/readyz`);
      return { status: response.status, ...(await response.json() as { readonly reason?: string }) };
    };
    const put = (value: number): Promise<unknown> =>
      node.kv.transact({ compare: [], then: [{ kind: "put", key: KEY, value }], else: [] }, { timeoutMs: 3_600_000 });
    expect(await readiness()).toMatchObject({ status: 200 });
    held = [];
    const waiting = put(1);
    await vi.waitUntil(async () => (await readiness()).status === 503, { timeout: 30_000, interval: 50 });
    expect((await readiness()).reason).toContain("this node has applied nothing for");
    const writes = held;
    held = undefined;
    for (const write of writes) write();
    await waiting;
    await vi.waitUntil(async () => (await readiness()).status === 200, { timeout: 30_000, interval: 50 });
    await node.stop();
  },
);

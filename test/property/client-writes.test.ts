// The real client above a transport that fails as the tape says: what was acknowledged is applied once, what was
// refused is not, and the rest at most once, whatever is lost, late or said twice.
import fc from "fast-check";
import { expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { createClientKv, type ClientKv } from "../../src/client/client-kv.ts";
import { Multiplexer } from "../../src/client/multiplexer.ts";
import { FlakyCluster, type Fault } from "../support/flaky-cluster.ts";
import { ManualClock } from "../support/manual-clock.ts";

const URLS = ["ws://n1", "ws://n2", "ws://n3"];
const FAULTS: readonly Fault[] = [
  "none", "applied-unanswered", "lost", "lost-applied-later", "timeout-applied-later", "timeout", "no-quorum",
  "no-quorum-slow", "overloaded", "draining", "silent", "sessions-end", "sessions-end-lost",
];

interface Ending {
  readonly key: string;
  readonly revision?: number;
  readonly outcome?: string | undefined;
}

interface World {
  readonly clock: ManualClock;
  readonly cluster: FlakyCluster;
  readonly requests: Multiplexer;
  readonly kv: ClientKv;
}

function openWorld(tape: readonly Fault[], seed: number): World {
  const clock = new ManualClock();
  const cluster = new FlakyCluster(clock, URLS, tape);
  const ports = {
    clock, random: new SeededRandom(seed), discovery: "members" as const, dial: (url: string) => cluster.dial(url),
  };
  const requests = new Multiplexer(ports, URLS);
  return { clock, cluster, requests, kv: createClientKv({ requests, clock, random: new SeededRandom(seed) }) };
}

async function put(kv: ClientKv, key: string, timeoutMs: number): Promise<Ending> {
  try {
    const { revision } = await kv.put(key, 1, { timeoutMs });
    return { key, revision };
  } catch (error) {
    expect(error).toBeInstanceOf(AetherError);
    return { key, outcome: (error as AetherError).outcome };
  }
}

function check({ cluster }: World, endings: readonly Ending[]): void {
  for (const { key, revision, outcome } of endings) {
    const times = cluster.applied.get(key) ?? 0;
    if (revision !== undefined) expect([key, times, cluster.revisions.get(key)]).toEqual([key, 1, revision]);
    else if (outcome === "not-applied") expect([key, times]).toEqual([key, 0]);
    else {
      expect([key, outcome]).toEqual([key, "unknown"]);
      expect(times).toBeLessThanOrEqual(1);
    }
  }
}

test("writes run at most once and their outcome is told truthfully, whatever fails", async () => {
  const faults = fc.array(fc.constantFrom(...FAULTS), { maxLength: 60 });
  const writers = fc.integer({ min: 1, max: 6 });
  const patience = fc.constantFrom(1_000, 5_000, 20_000);
  await fc.assert(
    fc.asyncProperty(faults, writers, patience, fc.integer(), async (tape, writerCount, timeoutMs, seed) => {
      const world = openWorld(tape, seed);
      const endings: Ending[] = [];
      const write = async (writer: number): Promise<void> => {
        for (let count = 0; count < 8; count++) endings.push(await put(world.kv, `data/${writer}/${count}`, timeoutMs));
      };
      const writing = Promise.all(Array.from({ length: writerCount }, (_, writer) => write(writer)));
      await world.clock.advanceUntil(() => endings.length === writerCount * 8, 8 * 20_000 + 1_000);
      await writing;
      await world.clock.advance(2_000);
      check(world, endings);
      world.requests.close();
    }),
    { numRuns: 60 },
  );
});

test("a write that no node can answer for is unknown, and says so at its deadline", async () => {
  const world = openWorld(Array.from({ length: 100 }, () => "lost-applied-later" as const), 1);
  const ending = put(world.kv, "data/a", 300);
  await world.clock.advance(1_500);
  expect(await ending).toEqual({ key: "data/a", outcome: "unknown" });
  expect(world.cluster.applied.get("data/a")).toBe(1);
  world.requests.close();
});

test("a write that every node refuses is not in doubt, whenever its deadline comes", async () => {
  const inDoubt: number[] = [];
  for (let timeoutMs = 50; timeoutMs <= 500; timeoutMs += 10) {
    const world = openWorld(Array.from({ length: 100 }, () => "no-quorum-slow" as const), 1);
    const ending = put(world.kv, "data/a", timeoutMs);
    await world.clock.advance(timeoutMs + 100);
    if ((await ending).outcome !== "not-applied") inDoubt.push(timeoutMs);
    world.requests.close();
  }
  expect(inDoubt).toEqual([]);
});

test("a write that was sent once into a session that had ended is sent again in a new one", async () => {
  const world = openWorld(["none", "sessions-end"], 1);
  const first = put(world.kv, "data/a", 5_000);
  await world.clock.advance(100);
  expect(await first).toMatchObject({ revision: 1 });
  const second = put(world.kv, "data/b", 5_000);
  await world.clock.advance(100);
  expect(await second).toMatchObject({ revision: 2 });
  expect(world.cluster.openSessions).toBe(1);
  world.requests.close();
});

test("a write that may have been applied in a session that has ended is unknown, and later writes go on", async () => {
  const world = openWorld(["applied-unanswered", "sessions-end"], 1);
  const first = put(world.kv, "data/a", 5_000);
  await world.clock.advance(200);
  expect(await first).toEqual({ key: "data/a", outcome: "unknown" });
  const second = put(world.kv, "data/b", 5_000);
  await world.clock.advance(200);
  expect(await second).toMatchObject({ revision: 2 });
  world.requests.close();
});

test("a session is held while there are writes, given back when there are none, and opened anew", async () => {
  const world = openWorld([], 1);
  void put(world.kv, "data/a", 5_000);
  await world.clock.advance(10_000);
  expect(world.cluster.openSessions).toBe(1);
  await world.clock.advance(120_000);
  expect(world.cluster.openSessions).toBe(0);
  const again = put(world.kv, "data/b", 5_000);
  await world.clock.advance(1_000);
  expect(await again).toMatchObject({ revision: 2 });
  world.requests.close();
  await world.clock.advance(1_000);
  expect(world.cluster.openSessions).toBe(0);
});

test("one write that hangs does not let the others leave the window", async () => {
  const world = openWorld(["silent"], 1);
  const hanging = put(world.kv, "data/hanging", 60_000);
  await world.clock.advance(10);
  const others = Array.from({ length: 2_000 }, (_, at) => put(world.kv, `data/${at}`, 30_000));
  await world.clock.advance(2_000);
  expect(world.cluster.applied.size).toBe(1_023);
  const endings = Promise.all(others);
  await world.clock.advance(60_000);
  check(world, [...(await endings), await hanging]);
  world.requests.close();
});

test("what waits without a connection is bounded in bytes", async () => {
  const clock = new ManualClock();
  const silent = { bufferedBytes: 0, attach: () => undefined, send: () => undefined, close: () => undefined };
  const ports = { clock, random: new SeededRandom(1), discovery: "off" as const, dial: () => silent };
  const requests = new Multiplexer(ports, URLS);
  const kv = createClientKv({ requests, clock, random: new SeededRandom(1) });
  const value = "x".repeat(500_000);
  const writes = Array.from({ length: 200 }, (_, at) => kv.put(`data/${at}`, value, { timeoutMs: 1_000 }));
  const codes = Promise.all(writes.map((write) => write.then(() => "ok", (error: AetherError) => error.code)));
  await clock.advance(2_000);
  const refused = (await codes).filter((code) => code === "E_OVERLOADED").length;
  expect(200 - refused).toBe(Math.floor((64 * 1_024 * 1_024) / 500_040));
  requests.close();
});

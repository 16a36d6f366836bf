// Owns: two nodes' signs of life and take-overs over one real store, on a manual clock.
import { afterEach, beforeEach, expect, test } from "vitest";
import { sha256 } from "../../src/base/digest.ts";
import { parseJobId, parseNodeId, parseNodeUid, type JobId, type NodeId } from "../../src/base/ids.ts";
import type { NodeLife } from "../../src/cluster/core/rows.ts";
import type { NodeView } from "../../src/cluster/membership/membership-service.ts";
import { formatKey } from "../../src/kvstore/core/key.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import type { JobRow } from "../../src/jobs/core/rows.ts";
import { FenceReader } from "../../src/jobs/ownership/fence-cell.ts";
import { OwnershipService } from "../../src/jobs/ownership/ownership-service.ts";
import { TakeOver } from "../../src/jobs/ownership/take-over.ts";
import { SILENT_TELEMETRY } from "../support/cluster-world.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";
import { ManualClock } from "../support/manual-clock.ts";

interface FakeNode {
  readonly life: NodeLife;
  readonly ownership: OwnershipService;
  readonly takeOver: TakeOver;
  readonly fence: FenceReader;
  readonly held: Set<JobId>;
  seized: number;
}

let clock: ManualClock;
let store: LocalKv;
let nodes: FakeNode[];
/** Since when a majority suspects a node, by the clock. */
let suspectedSinceMs: Map<NodeId, number>;
const failures: unknown[] = [];

beforeEach(async () => {
  clock = new ManualClock();
  store = await createLocalKv({ clock });
  nodes = [];
  suspectedSinceMs = new Map();
});

afterEach(async () => {
  for (const node of nodes) await close(node);
  await passing(store.close());
  expect(failures).toEqual([]);
});

/** Lets time pass until what goes on has ended. */
async function passing<T>(work: Promise<T>): Promise<T> {
  return await clock.settled(work, 5_000);
}

function put(...rows: readonly (readonly [Parameters<typeof formatKey>[0], unknown])[]): Promise<unknown> {
  const then = rows.map(([key, value]) => ({ kind: "put", key: formatKey(key), value }) as const);
  return passing(store.kv.transact({ compare: [], then, else: [] }));
}

function lifeOf(name: string, incarnation = 1): NodeLife {
  return { node: parseNodeId(name), uid: parseNodeUid(`uid0000000000${name}0`.slice(0, 16)), incarnation };
}

function start(name: string, incarnation = 1): FakeNode {
  const life = lifeOf(name, incarnation);
  const env = {
    clock,
    telemetry: SILENT_TELEMETRY,
    workers: {
      memoryBytes: () => 0,
      threadsNowMs: () => clock.nowMs(),
      signalChild: () => undefined,
      spawn: () => expect.fail("no workers here"),
    },
  };
  const onFatal = (error: unknown): void => void failures.push(error);
  const ownership = new OwnershipService(env, { kv: store.kv, group: store.group, onFatal }, { self: life });
  const held = new Set<JobId>();
  const takeOver = new TakeOver(env, {
    kv: store.kv,
    ownership,
    membership: {
      suspectedForMs: (node) => {
        const sinceMs = suspectedSinceMs.get(node);
        return sinceMs === undefined ? undefined : clock.nowMs() - sinceMs;
      },
      get nodes(): readonly NodeView[] {
        return [];
      },
    },
    holds: (job) => held.has(job),
    onFatal,
  }, life);
  const reader = new FenceReader(ownership.fence.shared, () => clock.nowMs());
  const node: FakeNode = { life, ownership, takeOver, fence: reader, held, seized: 0 };
  ownership.onSeized(() => {
    node.seized += 1;
    held.clear();
    takeOver.lookForOwn();
  });
  ownership.start();
  takeOver.start();
  nodes.push(node);
  return node;
}

async function close(node: FakeNode): Promise<void> {
  nodes = nodes.filter((other) => other !== node);
  await passing(node.takeOver.close());
  await passing(node.ownership.close());
}

function rowOf(life: NodeLife): JobRow {
  return {
    agent: "claims", tenant: "default", pin: sha256("pin"), status: "running", owner: life, epoch: 3, run: 1,
    claims: { atSeq: 0, count: 1 }, queueClass: "default", priority: 0, attributes: {}, sinceMs: 1, createdMs: 1,
  };
}

/** A job that runs on the node, as its claim would have left it. */
async function own(node: FakeNode, name: string): Promise<JobId> {
  const job = parseJobId(name);
  const ref = refOf(job);
  node.held.add(job);
  await put([{ kind: "job", ...ref }, rowOf(node.life)], [
    { kind: "job-owned", node: node.life.node, ...ref }, { epoch: 3 },
  ]);
  node.ownership.setOwning(node.held.size);
  return job;
}

async function read(key: Parameters<typeof formatKey>[0]): Promise<unknown> {
  return (await store.kv.get(formatKey(key), { consistency: "local" })).entry?.value;
}

async function statusOf(job: JobId): Promise<string> {
  return ((await read({ kind: "job", ...refOf(job) })) as JobRow).status;
}

/** The process of a node stands still, or is cut off: its sign of life does, and others notice. */
function suspect(node: FakeNode): void {
  suspectedSinceMs.set(node.life.node, clock.nowMs());
}

async function becomeValid(node: FakeNode): Promise<void> {
  const valid = node.ownership.whenValid(new AbortController().signal);
  await clock.advanceUntil(() => node.ownership.isValid, 5_000);
  await valid;
}

test("the jobs of a dead node go back to the queue within three seconds, and keep their age", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const job = await own(n1, "j1");
  await clock.advance(2_000);
  await close(n1);
  suspect(n1);
  let isFree = false;
  void store.kv.watch("job-queue/", { onChanges: () => void (isFree = true), onEnd: () => undefined });
  const tookMs = await clock.advanceUntil(() => isFree, 10_000);
  expect(tookMs).toBeGreaterThanOrEqual(2_000);
  expect(tookMs).toBeLessThan(3_000);
  expect(await read({ kind: "job", ...refOf(job) })).toMatchObject({ status: "pending", epoch: 3 });
  expect(await read({ kind: "job", ...refOf(job) })).not.toHaveProperty("owner");
  expect(await read({ kind: "job-queue", ...refOf(job) })).toMatchObject({ agent: "claims", sinceMs: 1 });
  expect(await read({ kind: "job-owned", node: n1.life.node, ...refOf(job) })).toBeUndefined();
});

test("a node whose sign of life moves keeps its jobs, whoever suspects it", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const job = await own(n1, "j1");
  suspect(n1);
  await clock.advance(20_000);
  expect(await statusOf(job)).toBe("running");
  expect(n1.seized).toBe(0);
});

test("a node that nobody suspects keeps its jobs, although the store took none of its beats for a while", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const job = await own(n1, "j1");
  store.group.setMode("no-quorum");
  await clock.advance(10_000);
  expect(n1.ownership.isValid).toBe(false);
  expect(n1.fence.mayAct(0)).toBe(false);
  store.group.setMode("deciding");
  await clock.advanceUntil(() => n1.ownership.isValid, 5_000);
  expect(n1.fence.mayAct(0)).toBe(true);
  expect(n1.seized).toBe(0);
  expect(await statusOf(job)).toBe("running");
});

test("a beat that came through late is the node's own, not somebody else's", async () => {
  const n1 = start("n1");
  await becomeValid(n1);
  await own(n1, "j1");
  store.group.setMode("silent");
  await clock.advance(4_000);
  store.group.setMode("deciding");
  await clock.advanceUntil(() => n1.ownership.isValid, 5_000);
  expect(n1.seized).toBe(0);
});

test("a node that wakes after its jobs were taken does nothing for them, and what it has goes back", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const job = await own(n1, "j1");
  const grantedUnder = n1.ownership.fence.number;
  expect(n1.fence.mayAct(grantedUnder)).toBe(true);
  // Others take it for dead, and win against its next beat.
  const key = { kind: "job-beat", node: n1.life.node } as const;
  const beat = (await read(key)) as { readonly seizures: number };
  await put([key, { ...beat, seizures: beat.seizures + 1 }]);
  await clock.advanceUntil(() => n1.seized > 0, 5_000);
  await becomeValid(n1);
  expect(n1.fence.mayAct(grantedUnder)).toBe(false);
  expect(n1.fence.mayAct(n1.ownership.fence.number)).toBe(true);
  await clock.advance(1_000);
  expect(await statusOf(job)).toBe("pending");
});

test("the jobs of an earlier life go back at once when the node starts, those it holds stay", async () => {
  const before = start("n1", 1);
  await becomeValid(before);
  const old = await own(before, "old");
  await close(before);
  const n1 = start("n1", 2);
  n1.held.add(parseJobId("held"));
  await clock.advance(300);
  expect(await statusOf(old)).toBe("pending");
  const held = await own(n1, "held");
  await clock.advance(30_000);
  expect(await statusOf(held)).toBe("running");
});

test("a job whose row is damaged does not keep the others", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const [bad, good] = [await own(n1, "bad"), await own(n1, "good")];
  await put([{ kind: "job", ...refOf(bad) }, 7]);
  await close(n1);
  suspect(n1);
  await clock.advance(5_000);
  expect(await statusOf(good)).toBe("pending");
});

test("more jobs than one transaction takes all go back", async () => {
  const [n1] = [start("n1"), start("n2")];
  await becomeValid(n1);
  const jobs: JobId[] = [];
  for (let n = 0; n < 75; n++) jobs.push(await own(n1, `j${n}`));
  await close(n1);
  suspect(n1);
  await clock.advance(5_000);
  for (const job of jobs) expect(await statusOf(job)).toBe("pending");
});

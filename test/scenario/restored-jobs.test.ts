// Jobs in a backup: a cluster that begins with it runs none of them until a person says so, whatever they were doing.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { parseJobId } from "../../src/base/ids.ts";
import { BackupSource } from "../../src/kvstore/backup-source.ts";
import { formatKey, LEADER_KEY, prefixOf } from "../../src/kvstore/core/key.ts";
import type { KeyPrefix } from "../../src/kvstore/core/key.ts";
import type { Kv } from "../../src/kvstore/kv.ts";
import { refOf, type CallName, type ClusterUid, type JobUid } from "../../src/jobs/core/ids.ts";
import { effectIdOf } from "../../src/jobs/core/ids.ts";
import { decideClaim } from "../../src/jobs/core/life/decide.ts";
import { ownedKey, queueKey, rowKey } from "../../src/jobs/core/life/job-keys.ts";
import { parseJobRow } from "../../src/jobs/core/rows.ts";
import { InboxWriter } from "../../src/jobs/inbox/inbox-writer.ts";
import { clusterUid } from "../../src/jobs/ownership/cluster-uid.ts";
import { JobsDrive } from "../../src/jobs/doors/jobs-drive.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { createRealClock } from "../../src/node/env-clock-adapter.ts";
import { plantState, type PlantSource } from "../../src/node/plant-state.ts";
import { createLevelStorePort } from "../../src/storage/level-adapter.ts";
import { jobStore, life, startJob, transitionOf, viewOf } from "../support/job-log.ts";
import { endedJob, inboxOf, rowOf, runningJob, sleepingJob, waitingJob } from "../support/job-rows.ts";
import { payloadsIn } from "../support/kept-payloads.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const ANN = { principal: "ann", tenant: "default" };
const LIVE = ["cancelled-1", "pending-1", "running-1", "sleeping-1", "stuck-1"].map(parseJobId);
const SLEEPING = parseJobId("sleeping-1");
const clock = createRealClock();

let directory: string;
let open: LocalKv[];
let writers: InboxWriter[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aether-restored-jobs-"));
  open = [];
  writers = [];
});

afterEach(async () => {
  for (const writer of writers) await writer.close();
  for (const local of open) await local.close();
  await rm(directory, { recursive: true });
});

async function openKv(stores?: LocalKv["stores"]): Promise<LocalKv> {
  const local = await createLocalKv(stores === undefined ? {} : { stores });
  open.push(local);
  return local;
}

function driveOf(kv: Kv): JobsDrive {
  const inbox = new InboxWriter({ clock }, { kv, onFatal: (error) => expect.unreachable(String(error)) });
  writers.push(inbox);
  return new JobsDrive({
    clock, kv, inbox, payloads: payloadsIn(kv), pins: { definitionOf: async () => undefined },
  });
}

/** Jobs in every phase of life, of a cluster with an uid. */
async function busyCluster(): Promise<{ readonly local: LocalKv; readonly uid: ClusterUid }> {
  const local = await openKv();
  const { kv } = local;
  const uid = await clusterUid(new SeededRandom(7), kv);
  const running = await runningJob(kv, "running-1");
  await startJob(kv, { job: parseJobId("pending-1"), pin: running.row.pin });
  await sleepingJob(kv, SLEEPING, clock.wallMs() + 3_600_000);
  await waitingJob(kv, "stuck-1", { reason: "stuck", on: [], why: "its code" });
  await waitingJob(kv, "cancelled-1", { reason: "signal", on: ["signal:go"] });
  await driveOf(kv).cancel(parseJobId("cancelled-1"), ANN);
  await endedJob(kv, "ended-1");
  await kv.transact({
    compare: [],
    then: [
      { kind: "put", key: formatKey({ kind: "job-beat", node: life("n1").node }), value: { count: 1 } },
      {
        kind: "put",
        key: formatKey({ kind: "job-permit", scope: "agent", name: "claims", slot: 0 }),
        value: { job: "running-1", epoch: 1 },
      },
      { kind: "put", key: LEADER_KEY, value: { epoch: 7 } },
    ],
    else: [],
  });
  return { local, uid };
}

function sourceOf({ group, state }: LocalKv): PlantSource {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const reader = await new BackupSource({ group, state, clock: createRealClock() }).begin();
    for (let chunk = await reader.next(); chunk !== undefined; chunk = await reader.next()) yield chunk;
    await reader.close();
  }
  return { chunks: chunks(), revisionGap: 0, check: () => undefined };
}

/** The store of a node of a cluster that begins with what `local` has now. */
async function restored(local: LocalKv, name: string): Promise<LocalKv> {
  const dataDir = join(directory, name);
  const { signal } = new AbortController();
  await plantState(sourceOf(local), { dataDir, cluster: "local", signal, onProgress: () => undefined });
  return await openKv(createLevelStorePort(dataDir));
}

async function keysOf(kv: Kv, prefix: KeyPrefix): Promise<readonly string[]> {
  return (await kv.list({ prefix: prefixOf(prefix) })).entries.map(({ key }) => key);
}

test("every job that has not ended is held, and nothing is left by which a node would run it", async () => {
  const { local, uid } = await busyCluster();
  const { kv } = await restored(local, "n1");
  for (const job of LIVE) {
    const row = await rowOf(kv, job);
    expect(row, job).toMatchObject({ status: "waiting", waiting: { reason: "restored", on: [] } });
    expect(row).not.toHaveProperty("owner");
    const before = await rowOf(local.kv, job);
    expect([row.epoch, row.pin, row.createdMs]).toEqual([before.epoch, before.pin, before.createdMs]);
  }
  expect(await rowOf(kv, parseJobId("ended-1"))).toEqual(await rowOf(local.kv, parseJobId("ended-1")));
  for (const kind of ["job-queue", "job-owned", "job-beats", "job-permits"] as const) {
    expect(await keysOf(local.kv, { kind }), kind).not.toEqual([]);
    expect(await keysOf(kv, { kind }), kind).toEqual([]);
  }
  expect(await keysOf(kv, { kind: "job-timers" })).toEqual(await keysOf(local.kv, { kind: "job-timers" }));
  // What effect ids are made of.
  const call = "/pay#1" as CallName;
  const jobUid = "0".repeat(32) as JobUid;
  expect(effectIdOf(await clusterUid(new SeededRandom(8), kv), jobUid, call)).toBe(effectIdOf(uid, jobUid, call));
});

test("schedules begin anew, and agents' ones know the job that they have started last (T4)", async () => {
  const { local } = await busyCluster();
  const method = formatKey({ kind: "schedule", slice: "shop", name: "nightly" });
  const ofAgent = formatKey({ kind: "agent-schedule", slice: "shop", agent: "claims", name: "nightly" });
  const ticked = { cron: "0 3 * * *", timeZone: "UTC", tickMs: 1_000 };
  const rows: readonly (readonly [typeof method, object])[] = [
    [method, { ...ticked, method: "count", state: "sent" }], [ofAgent, { ...ticked, job: SLEEPING, state: "done" }],
  ];
  await local.kv.transact({
    compare: [], then: rows.map(([key, value]) => ({ kind: "put" as const, key, value })), else: [],
  });
  const { kv } = await restored(local, "n1");
  for (const [key, value] of rows) expect((await kv.get(key)).entry?.value).toEqual({ ...value, isRestored: true });
});

test("every first voter comes to the same state, and a cluster that was restored can be restored", async () => {
  const { local } = await busyCluster();
  const [first, second] = [await restored(local, "n1"), await restored(local, "n2")];
  expect(second.state.stateHash).toBe(first.state.stateHash);
  expect((await second.kv.list({ prefix: "" })).entries).toEqual((await first.kv.list({ prefix: "" })).entries);
  await first.kv.transact({ compare: [], then: [{ kind: "put", key: LEADER_KEY, value: { epoch: 8 } }], else: [] });
  const again = await restored(first, "n3");
  expect(await rowOf(again.kv, SLEEPING)).toEqual(await rowOf(first.kv, SLEEPING));
});

test("only a release lets a job go on, with all that came meanwhile", async () => {
  const { local } = await busyCluster();
  const { kv } = await restored(local, "n1");
  const drive = driveOf(kv);
  await drive.signal(SLEEPING, { name: "go", payload: 1 }, ANN);
  await drive.cancel(SLEEPING, ANN);
  expect(await rowOf(kv, SLEEPING)).toMatchObject({ status: "waiting", waiting: { reason: "restored" } });
  expect(await keysOf(kv, { kind: "job-queue" })).toEqual([]);
  await drive.release(SLEEPING, ANN);
  const row = await rowOf(kv, SLEEPING);
  expect(row).toMatchObject({ status: "pending", restored: { seq: 3, inbox: 0 } });
  expect((await kv.get(queueKey(refOf(SLEEPING)))).entry).toBeDefined();
  expect((await inboxOf(kv, SLEEPING)).map(({ kind }) => kind)).toEqual(["signal", "cancel", "release"]);
  await expect(drive.release(SLEEPING, ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
  await expect(drive.release(parseJobId("ended-1"), ANN)).rejects.toMatchObject({ code: "E_CONFLICT" });
  await expect(drive.release(parseJobId("nobody"), ANN)).rejects.toMatchObject({ code: "E_NOT_FOUND" });
});

test("the owner from before the backup is none any more, and the next one has a higher epoch", async () => {
  const { local } = await busyCluster();
  const RUNNING = parseJobId("running-1");
  const { epoch } = await rowOf(local.kv, RUNNING);
  const { kv } = await restored(local, "n1");
  await driveOf(kv).release(RUNNING, ANN);
  const { view } = await jobStore(clock, kv).load(refOf(RUNNING));
  const claim = decideClaim(view, { life: life("n9"), atMs: clock.wallMs() });
  const after = viewOf(await jobStore(clock, kv).commit(transitionOf(claim)));
  expect(after.row).toMatchObject({ status: "running", epoch: epoch + 1, restored: { seq: view.head.seq } });
  expect((await kv.get(ownedKey(life("n9").node, refOf(RUNNING)))).entry).toBeDefined();
});

test("a row that is damaged is left as it is and run by nobody, and hides no other", async () => {
  const { local } = await busyCluster();
  const key = rowKey(refOf(parseJobId("running-1")));
  await local.kv.transact({ compare: [], then: [{ kind: "put", key, value: { status: "running" } }], else: [] });
  const { kv } = await restored(local, "n1");
  const value = (await kv.get(key)).entry?.value;
  expect(value).toEqual({ status: "running" });
  expect(() => parseJobRow(value)).toThrow(AetherError);
  expect(await rowOf(kv, SLEEPING)).toMatchObject({ waiting: { reason: "restored" } });
});

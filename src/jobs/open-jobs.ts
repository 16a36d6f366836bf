// Owns: how the parts of the job runtime of one node are put together, and in which order they begin and end.
import { present } from "../base/assert.ts";
import type { NodeLife } from "../cluster/core/rows.ts";
import type { Labels } from "../cluster/deployment/core/placement.ts";
import type { ClusterServices } from "../cluster/cluster-services.ts";
import { RowView } from "../cluster/row-view.ts";
import { TickRunner } from "../cluster/schedules/tick-runner.ts";
import { StoreOutage, throughOutage } from "../cluster/store-outage.ts";
import type { Group } from "../consensus/group.ts";
import type { Env } from "../env/env.ts";
import { prefixOf } from "../kvstore/core/key.ts";
import type { Kv, StoreQuota } from "../kvstore/kv.ts";
import type { Facts } from "../metrics/core/facts.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { SliceStore } from "../slices/host/slice-store.ts";
import { AgentPool, AGENTS_IDLE_MS, type PoolUse } from "./running/agent-pool.ts";
import { Approvals } from "./doors/approvals.ts";
import { ChildStarts } from "./running/child-starts.ts";
import { JobClaimer } from "./ownership/claimer.ts";
import { clusterUid as readClusterUid } from "./ownership/cluster-uid.ts";
import type { ClusterUid } from "./core/ids.ts";
import { parseRateRow } from "./core/rows.ts";
import type { SecretValues } from "./core/worker/messages.ts";
import { followInbox } from "./inbox/inbox-feed.ts";
import { InboxWriter } from "./inbox/inbox-writer.ts";
import { JobExport } from "./doors/job-export.ts";
import { JobPayloads, PAYLOADS_SHOWN_BYTES_MAX } from "./doors/job-payloads.ts";
import { JobCensus } from "./job-census.ts";
import { JobCounts } from "./job-counts.ts";
import { factsOfJobs } from "./job-facts.ts";
import { JobStore } from "./job-store.ts";
import { JobWatch } from "./job-watch.ts";
import { JobsDrive } from "./doors/jobs-drive.ts";
import { StartJobs, type StartsHere } from "./doors/start-jobs.ts";
import type { JobsConfig } from "./config.ts";
import { JobsService } from "./doors/jobs-service.ts";
import { createJobsMetrics } from "./metrics.ts";
import { Outbox } from "./inbox/outbox.ts";
import { OwnershipService } from "./ownership/ownership-service.ts";
import { CallPlaces } from "./admission/call-places.ts";
import { PermitView } from "./admission/permit-view.ts";
import { PendingReasons } from "./admission/pending-reasons.ts";
import { PayloadRoom } from "./payloads/payload-room.ts";
import { PayloadStore } from "./payloads/payload-store.ts";
import { Pins } from "./running/pins.ts";
import type { Jobs } from "./ports.ts";
import { followJob } from "./progress/job-follow.ts";
import { ProgressHub } from "./progress/progress-hub.ts";
import { RateLimits } from "./admission/rate-limits.ts";
import { RateRefill } from "./admission/rate-refill.ts";
import { OtherCode } from "./doors/other-code.ts";
import { Replays, REPLAY_WORKER_IDLE_MS } from "./running/replays.ts";
import { RepeatJobs } from "./doors/repeat-jobs.ts";
import type { JobArchive } from "./retention/job-archive.ts";
import { JobCollector } from "./retention/job-collector.ts";
import { PayloadCollector } from "./retention/payload-collector.ts";
import { JobRunner } from "./running/runner.ts";
import { Spending } from "./running/spending.ts";
import { jobTicks } from "./schedules/job-ticks.ts";
import { TakeOver } from "./ownership/take-over.ts";
import { TimerDriver } from "./inbox/timer-driver.ts";
import type { NoticeSender } from "./webhooks/notice-sender.ts";
import { WebhookDriver } from "./webhooks/webhook-driver.ts";

export type JobsEnv = Pick<Env, "clock" | "random" | "workers" | "telemetry">;

export interface JobsPorts {
  readonly kv: Kv & Pick<StoreQuota, "usage">;
  readonly messaging: PeerMessaging;
  readonly group: Pick<Group, "status">;
  readonly cluster: Pick<ClusterServices, "membership" | "leadership" | "blueprintViews">;
  readonly slices: Pick<SliceStore, "startAgents" | "endAgents">;
  /** What tools and models of agents may be given, by name. */
  readonly secrets?: SecretValues;
  /** Where the logs of jobs go before they are taken away. */
  readonly archive?: JobArchive;
  /** How webhooks are told; nobody is told without it. */
  readonly sender?: NoticeSender;
  readonly onFatal: (error: unknown) => void;
}

export interface NodeJobs {
  readonly jobs: Jobs;
  /** What has happened in the jobs of this node. */
  readonly counts: JobCounts;
  /** What is told of jobs every second. */
  facts(): Facts;
  start(): void;
  /** Jobs that this node has. */
  held(): number;
  /** Hands over what this node owns; calls of tools under way may end before. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

const AGENTS: PoolUse = { name: "agents", idleMs: AGENTS_IDLE_MS };
const REPLAYS: PoolUse = { name: "replays", idleMs: REPLAY_WORKER_IDLE_MS };

/** Jobs that one node runs at once. */
export const RUNNING_JOBS_MAX = 256;

/** What the node is that these parts are of. */
export interface JobsSelf {
  readonly life: NodeLife;
  readonly labels: Labels;
}

export function openJobs(
  env: JobsEnv, ports: JobsPorts, { life: self, labels }: JobsSelf, config: JobsConfig,
): NodeJobs {
  const { kv, messaging, group, cluster, slices, secrets = {}, onFatal } = ports;
  const { clock, telemetry } = env;
  const log = telemetry.log;
  const metrics = createJobsMetrics(telemetry);
  const counts = new JobCounts();
  const store = new JobStore(env, {
    kv, metrics, counts, webhooks: config.webhooks, usage: () => kv.usage(),
  });
  const watch = new JobWatch(env, kv);
  const census = new JobCensus({ clock, log }, { kv, watch, onFatal });
  const pins = new Pins({ clock }, { kv, blueprints: () => cluster.blueprintViews.currentBlueprints() });
  const ownership = new OwnershipService(env, { kv, group, onFatal }, { self });
  const workers = new AgentPool({ clock }, { pins, slices, fence: ownership.fence, secrets }, AGENTS);
  const replayWorkers = new AgentPool({ clock }, { pins, slices, secrets }, REPLAYS);
  let uid: ClusterUid | undefined;
  const progress = new ProgressHub(env, { messaging }, self.node);
  const inbox = new InboxWriter({ clock }, { kv, onFatal });
  const outbox = new Outbox(env, { kv, inbox, leadership: cluster.leadership, onFatal });
  const childStarts = new ChildStarts(env, { kv, pins, checkRoom: () => starts.checkRoom() });
  const rateRows = new RowView({ clock, log }, kv, prefixOf({ kind: "job-rates" }), (key, value) =>
    key.kind === "job-rate" ? parseRateRow(value) : undefined);
  const rates = new RateLimits(env, { kv, rates: rateRows, metrics, onFatal });
  const refill = new RateRefill(env, { kv, rates: rateRows, leadership: cluster.leadership, onFatal });
  const payloads = new PayloadStore(env, kv);
  const payloadRoom = new PayloadRoom();
  const nodePayloads = { store: payloads, room: payloadRoom, usage: () => kv.usage() };
  const permits = new PermitView({ clock, log }, kv, config);
  const places = new CallPlaces(env, { kv, permits, metrics, onFatal }, self);
  const runner = new JobRunner({ clock, log }, {
    log: store,
    workers,
    rates,
    places,
    models: config.models,
    spending: new Spending(metrics),
    ownership,
    secrets,
    followInbox: (ref, onArrival) => followInbox({ clock, log }, { kv, watch }, ref, onArrival),
    onEmit: (job, item) => progress.publish(job, item),
    onVerdict: ({ kind }) => metrics.verified.add(1, { verdict: kind }),
    children: childStarts,
    payloads: nodePayloads,
    tracing: telemetry.tracing,
    onOutbox: (ref) => outbox.tell(ref),
    onLost: () => takeOver.lookForOwn(),
  }, { runningMax: RUNNING_JOBS_MAX });
  const { membership, leadership } = cluster;
  const takeOver = new TakeOver(env, {
    kv, ownership, membership, holds: (job) => runner.holds(job), onFatal,
  }, self);
  const clusterUid = async (signal: AbortSignal): Promise<ClusterUid> => (uid ??= await readUid(env, kv, signal));
  const claimer = new JobClaimer(env, {
    kv, log: store, runner, ownership, membership, permits, clusterUid, onFatal,
  }, { life: self, labels });
  const here: StartsHere = {
    // Others are before it while any wait.
    reserve: (job, queued) =>
      uid !== undefined && ownership.isValid && !claimer.mustQueue(queued) && runner.reserve(job)
      ? self
      : undefined,
    run: (job) => runner.run(job, present(uid, "no place is kept before the uid is known")),
    giveUp: (job) => runner.giveUp(job),
  };
  const apart = new JobPayloads({ clock }, { ...nodePayloads, room: new PayloadRoom(PAYLOADS_SHOWN_BYTES_MAX) });
  const { tracing } = telemetry;
  const startsPorts = { kv, pins, payloads: apart, queued: () => claimer.queued, here, metrics, tracing };
  const starts = new StartJobs(env, startsPorts, config);
  const repeats = new RepeatJobs(env, {
    kv, log: store, pins, payloads: apart, checkRoom: () => starts.checkRoom(), tracing,
  });
  const views = cluster.blueprintViews;
  const schedules = new TickRunner(
    env, { kv, views, leadership: cluster.leadership, onFatal }, jobTicks({ kv, views, starts }),
  );
  const replays = new Replays({ clock }, { workers: replayWorkers, payloads: nodePayloads });
  const otherCode = new OtherCode({ clock }, { kv, log: store, pins, replays, inbox, watch });
  const timers = new TimerDriver(env, { kv, leadership, onFatal });
  const webhooks = ports.sender && new WebhookDriver(env, {
    kv, leadership: cluster.leadership, sender: ports.sender, secrets, metrics, onFatal,
  }, config.webhooks);
  const drive = new JobsDrive({ clock, kv, inbox, pins, payloads: apart });
  const pending = new PendingReasons({ membership, permits });
  const approvals = new Approvals({ clock }, { kv, inbox });
  const collector = new JobCollector(env, {
    kv, leadership, metrics, onFatal, ...(ports.archive === undefined ? {} : { archive: ports.archive }),
  }, config);
  const payloadCollector = new PayloadCollector(env, { kv, leadership, metrics, onFatal });
  membership.onChange(() => runner.setDuty(membership.isDrainWanted ? "drained" : "on-duty"));
  ownership.onSeized(() => {
    runner.dropAll("fenced");
    takeOver.lookForOwn();
  });
  return {
    jobs: combine(starts, new JobsService(env, { kv, watch, pending }), drive, {
      approvals: (...args) => approvals.approvals(...args),
      decide: (...args) => approvals.decide(...args),
      follow: (job, follower, options) => followJob({ kv, watch, progress }, job, follower, options),
      replay: (...args) => otherCode.replay(...args),
      move: (...args) => otherCode.move(...args),
      repeat: (job, repeat, caller, options) => repeats.repeat(job, repeat, caller, options),
      payload: (blob, options) => apart.payload(blob, options),
      payloadText: (blob, options) => apart.payloadText(blob, options),
      export: (job, options) => new JobExport(kv).open(job, options),
    }),
    counts,
    held: () => runner.held,
    facts: factsOfJobs({ clock, runner, claimer, census, counts }),
    start: () => {
      census.start();
      watch.open();
      ownership.start();
      takeOver.start();
      permits.open();
      rateRows.open();
      refill.start();
      claimer.start();
      timers.start();
      outbox.start();
      collector.start();
      payloadCollector.start();
      schedules.start();
      webhooks?.start();
    },
    drain: async () => {
      // Another leader goes on with them.
      await schedules.close();
      claimer.stop();
      await runner.drain();
    },
    close: async () => {
      await schedules.close();
      await webhooks?.close();
      await timers.close();
      await collector.close();
      await payloadCollector.close();
      await claimer.close();
      await places.close();
      await permits.close();
      await refill.close();
      await rates.close();
      await rateRows.close();
      runner.close();
      progress.close();
      await takeOver.close();
      await ownership.close();
      await outbox.close();
      await inbox.close();
      await census.close();
      watch.close();
      await replayWorkers.close();
      await workers.close();
    },
  };
}

/** Until the store tells: nothing runs before. */
function readUid({ clock, random, telemetry }: JobsEnv, kv: Kv, signal: AbortSignal): Promise<ClusterUid> {
  const outage = new StoreOutage(telemetry.log, "job-uid");
  return throughOutage(clock, outage, () => readClusterUid(random.fork("cluster uid"), kv, { signal }), signal);
}

function combine(
  starts: Pick<Jobs, "start">,
  service: Pick<Jobs, "show" | "list" | "events" | "result">,
  drive: Pick<Jobs, "signal" | "cancel" | "release" | "raise" | "resolve">,
  others: Pick<
    Jobs, "follow" | "export" | "repeat" | "replay" | "move" | "approvals" | "decide" | "payload" | "payloadText"
  >,
): Jobs {
  return {
    start: (...args) => starts.start(...args),
    show: (...args) => service.show(...args),
    list: (...args) => service.list(...args),
    events: (...args) => service.events(...args),
    result: (...args) => service.result(...args),
    ...others,
    signal: (...args) => drive.signal(...args),
    cancel: (...args) => drive.cancel(...args),
    release: (...args) => drive.release(...args),
    raise: (...args) => drive.raise(...args),
    resolve: (...args) => drive.resolve(...args),
  };
}

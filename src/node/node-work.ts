// Owns: how the parts above the store are put together: a node's place in the cluster, its slices, and calls. A real
// node and a simulated one share it; only what is behind the ports differs.
import { AlertNotices } from "../alerts/alert-notices.ts";
import { AlertService, type Alerts } from "../alerts/alert-service.ts";
import type { AlertsConfig } from "../alerts/alerts-config.ts";
import { InstanceFailures } from "../alerts/instance-failures.ts";
import { createDeferred } from "../base/deferred.ts";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import { createClusterClock } from "../cluster/membership/cluster-clock.ts";
import { ClusterServices, type ClusterServicesConfig, type ClusterServicesPorts } from "../cluster/cluster-services.ts";
import type { LateRolloutSaid } from "../cluster/deployment/cluster-deployment-manager.ts";
import { methodTicks } from "../cluster/schedules/method-ticks.ts";
import { TickRunner } from "../cluster/schedules/tick-runner.ts";
import type { ControlService } from "../control/control-service.ts";
import type { ModelAdvisorPorts } from "../control/model-advisor.ts";
import { openControl } from "../control/open-control.ts";
import type { GroupDriver } from "../consensus/group-driver.ts";
import type { Env } from "../env/env.ts";
import { CachedCalls } from "../invocation/cached-calls.ts";
import { createInvocation } from "../invocation/create-invocation.ts";
import { IdempotentInstances } from "../invocation/idempotency/idempotent-instances.ts";
import type { InvocationConfig } from "../invocation/invocation-config.ts";
import { RateLimitedInstances } from "../invocation/rate-limited-instances.ts";
import type { JobsConfig } from "../jobs/config.ts";
import { amountOf } from "../jobs/core/budget/amounts.ts";
import { JOB_EVENTS } from "../jobs/core/flow/job-events.ts";
import { openJobs } from "../jobs/open-jobs.ts";
import { PinNeeds } from "../jobs/running/pin-needs.ts";
import type { JobCounts } from "../jobs/job-counts.ts";
import type { Caller, Jobs } from "../jobs/ports.ts";
import type { JobArchive } from "../jobs/retention/job-archive.ts";
import type { NoticeSender } from "../jobs/webhooks/notice-sender.ts";
import type { KvStore } from "../kvstore/kv-store.ts";
import { CallTallies } from "../metrics/call-tallies.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { LeaderWordPort } from "../metrics/core/leader-word.ts";
import type { MetricsConfig } from "../metrics/metrics-config.ts";
import { openMetrics } from "../metrics/open-metrics.ts";
import type { ClusterEvents } from "../metrics/events/event-hub.ts";
import { CLUSTER_EVENT_RULES, openEvents } from "../metrics/events/open-events.ts";
import type { BlobCache } from "../slices/artifacts/blob-cache.ts";
import { BlueprintStore } from "../slices/blueprints/blueprint-store.ts";
import type { BundleFiles } from "../slices/host/bundle-files-adapter.ts";
import { ClusterLog } from "../slices/host/cluster-log.ts";
import type { OutgoingCalls } from "../slices/host/outgoing-calls.ts";
import { ArtifactRepository } from "../slices/artifacts/repository.ts";
import type { ArtifactSource } from "../slices/sources/artifact-source.ts";
import { ArtifactSources } from "../slices/sources/artifact-sources.ts";
import { openAgentsService } from "../slices/services/agents-service.ts";
import { openKvService } from "../slices/services/kv-service.ts";
import { openLeaseService } from "../slices/services/lease-service.ts";
import { openTopicService } from "../slices/services/topic-service.ts";
import type { RuntimeConfig } from "../slices/host/runtime-config.ts";
import { SliceStore } from "../slices/host/slice-store.ts";

export type NodeWorkEnv = Pick<Env, "clock" | "random" | "workers" | "telemetry" | "meter">;

export interface NodeWorkPorts extends Pick<ClusterServicesPorts, "messaging" | "onFatal"> {
  readonly group: GroupDriver;
  readonly kv: KvStore;
  readonly bundles: BundleFiles;
  /** This node's copies of archives. */
  readonly cache?: BlobCache;
  /** Where artifacts are looked for that the cluster does not hold. */
  readonly sources?: readonly ArtifactSource[];
  /** What tools and models of agents may be given, by name. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Where the logs of jobs go before they are taken away. */
  readonly archive?: JobArchive;
  /** How models are reached that advise on scaling; without it there are none. */
  readonly openModel?: ModelAdvisorPorts["open"];
  /** How webhooks are told of jobs. */
  readonly sender?: NoticeSender;
}

export interface NodeWorkConfig {
  /** What the consensus group does not know of this node. */
  readonly self: Omit<ClusterServicesConfig, "uid" | "incarnation">;
  readonly runtime: RuntimeConfig;
  readonly invocation: InvocationConfig;
  readonly jobs: JobsConfig;
  readonly metrics: MetricsConfig;
  readonly alerts: AlertsConfig;
}

export interface NodeWork {
  readonly cluster: ClusterServices;
  readonly slices: SliceStore;
  /** What slices said, on all nodes. */
  readonly clusterLog: ClusterLog;
  readonly invoker: OutgoingCalls;
  readonly artifacts: ArtifactRepository;
  readonly blueprints: BlueprintStore;
  readonly jobs: Jobs;
  /** What has happened in the jobs of this node. */
  readonly jobCounts: JobCounts;
  readonly metrics: ClusterMetrics;
  readonly events: ClusterEvents;
  readonly control: ControlService;
  readonly alerts: Alerts;
  /** Begins to take part, and to run slices. */
  start(): void;
  /** For an orderly end: as the cluster's services do it, and then until the store has what the last calls answered. */
  drainAndStop(): Promise<void>;
  close(): Promise<void>;
}

/** A slice that starts jobs, or tells them something. */
function callerOf(slice: string): Caller {
  return { principal: `slice ${slice}`, tenant: "default" };
}

function noModels({ model }: { readonly model: string }): never {
  throw new AetherError("E_CONFIG", `the model ${model} cannot be asked: this node reaches none`);
}

/** The store may take nothing any more. */
export const LAST_RECORDS_MS_MAX = 2 * SECOND_MS;

/** Slices call each other through the invoker, which hands calls to slices: each sees the other through a port. */
export function openNodeWork(env: NodeWorkEnv, ports: NodeWorkPorts, config: NodeWorkConfig): NodeWork {
  const { messaging, group, kv, bundles, cache, sources = [], secrets = {}, onFatal } = ports;
  const { self } = config;
  const artifacts = new ArtifactRepository({
    kv, clock: env.clock, pause: () => env.clock.sleep(0), ...(cache === undefined ? {} : { cache }),
  });
  const blueprints = new BlueprintStore({
    kv,
    artifacts,
    sources: new ArtifactSources({ artifacts, log: env.telemetry.log }, sources),
    outlook: () => cluster.outlook(),
  });
  // Calls begin only after `start`: by then the invoker is there.
  const calls: OutgoingCalls = { call: (call, signal) => invoker.call(call, signal) };
  const pins = new PinNeeds(env, kv);
  const jobsHere = (): number => jobs.held();
  const onLateRollout: LateRolloutSaid = (fields, epoch) =>
    events.ofLeader.say({ kind: "rollout.late", fields }, epoch);
  const cluster = new ClusterServices(
    env, { kv, messaging, group, calls, pins, jobsHere, onLateRollout, onFatal }, { ...self, ...group.origin },
  );
  const services = {
    kv: openKvService({ kv, clock: env.clock, publisher: cluster.topics.publisher }),
    lease: openLeaseService({ kv, clock: env.clock, node: self.node }),
    topics: openTopicService(cluster.topics.publisher),
    agents: openAgentsService({
      start: ({ budget, ...start }, slice, scope) => {
        const limit = budget && amountOf(budget);
        return jobs.jobs.start({ ...start, ...(limit !== undefined && { budget: limit }) }, callerOf(slice), scope);
      },
      signal: (job, signal, slice, scope) => jobs.jobs.signal(job, signal, callerOf(slice), scope),
    }),
  };
  const handled = new CallTallies("handled");
  const made = new CallTallies("made");
  const slices = new SliceStore(env, { artifacts, bundles, calls, services, handled }, config.runtime);
  const clusterLog = new ClusterLog(env, {
    messaging,
    nodes: () => cluster.membership.nodes.flatMap(({ node, status }) => (status === "gone" ? [] : [node])),
    readLines: (slice, query) => slices.readLines(slice, query),
  }, self.node);
  const life = { node: self.node, ...group.origin };
  const rated = new RateLimitedInstances(env, { local: slices, lookup: cluster.registry });
  const local = new IdempotentInstances(env, { local: rated, kv, lives: cluster.membership, onFatal }, life);
  const lookup = cluster.registry;
  const { tallies: tally } = cluster;
  const attempts = createInvocation(env, { lookup, local, messaging, self: self.node, tally, made }, config.invocation);
  const invoker = new CachedCalls(env, { calls: attempts, lookup }, config.invocation);
  const { blueprintViews: views, leading, leadership } = cluster;
  // What is planned by the time of day goes by the clocks of most nodes.
  const planning = { ...env, clock: createClusterClock(env.clock, cluster.membership) };
  const schedules = new TickRunner(planning, { kv, views, leadership, onFatal }, methodTicks({ leading, calls }));
  const archive = ports.archive === undefined ? {} : { archive: ports.archive };
  const sender = ports.sender === undefined ? {} : { sender: ports.sender };
  const jobsPorts = { kv, messaging, group, cluster, slices, secrets, ...archive, ...sender, onFatal };
  const jobs = openJobs(planning, jobsPorts, { life, labels: self.labels }, config.jobs);
  const facts = [() => jobs.facts()];
  const word: LeaderWordPort = { speak: (epoch) => alerts.speak(epoch), hear: (said) => alerts.hear(said) };
  const measured = { messaging, cluster, group, kv, slices, made, handled, facts, word };
  const metrics = openMetrics(env, measured, self.node, config.metrics);
  const rules = [...CLUSTER_EVENT_RULES, JOB_EVENTS];
  const events = openEvents(env, { kv, rules, group, membership: cluster.membership, onFatal }, life);
  metrics.metrics.onStall(({ kind: what, text: reason }, change) => {
    const told = { by: self.node, what };
    events.say(change === "ended" ? { kind: "stall.ended", fields: told }
      : { kind: "stall.began", fields: { ...told, reason } });
  });
  const openModel = ports.openModel ?? noModels;
  const control = openControl(env, {
    kv, group, cluster, metrics: metrics.metrics, ofLeader: events.ofLeader, secrets, open: openModel, onFatal,
  });
  const failures = new InstanceFailures(env.clock, events.events);
  const notices = new AlertNotices(env, { sender: ports.sender, secrets, onFatal }, config.alerts.webhooks);
  const alerts = new AlertService(env, {
    metrics: metrics.metrics, membership: cluster.membership, group, views: cluster.controlViews,
    leadership: cluster.leadership, slices: () => control.facts(), failures, ofLeader: events.ofLeader,
    say: (draft) => events.say(draft), notices,
  }, { self: self.node, config: config.alerts });
  const start = (): void => {
    events.start();
    failures.start();
    alerts.start();
    cluster.start(slices);
    metrics.start();
    control.start();
    schedules.start();
    jobs.start();
  };
  const drainAndStop = async (): Promise<void> => {
    // Another leader goes on with them.
    await control.close();
    await schedules.close();
    // Before the slices that tools call.
    await jobs.drain();
    await cluster.drainAndStop();
    const late = createDeferred<void>();
    const limit = env.clock.setTimer(LAST_RECORDS_MS_MAX, () => late.resolve());
    await Promise.race([local.whenIdle(), late.promise]);
    limit.cancel();
  };
  const close = async (): Promise<void> => {
    alerts.close();
    await notices.close();
    failures.close();
    metrics.close();
    await control.close();
    await schedules.close();
    await jobs.close();
    await events.close();
    await cluster.close();
    await slices.close();
    await local.close();
  };
  return {
    cluster, slices, clusterLog, invoker, artifacts, blueprints, jobs: jobs.jobs, jobCounts: jobs.counts,
    metrics: metrics.metrics, events: events.events, control: control.service, alerts,
    start, drainAndStop, close,
  };
}

// Owns: which part of a node is built from which. Reads like the picture in docs/ARCHITECTURE.md, from left to right.
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { readDashboard } from "../api/dashboard-adapter.ts";
import { ApiServer } from "../api/server.ts";
import type { ApiServices, ClusterView } from "../api/services.ts";
import type { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { ResourceStack } from "../base/resource-stack.ts";
import { changeMembers } from "../cluster/membership/change-members.ts";
import type { ClusterServices, ClusterServicesConfig } from "../cluster/cluster-services.ts";
import type { Group, GroupMembership, MembershipView } from "../consensus/group.ts";
import { GroupDriver } from "../consensus/group-driver.ts";
import type { StartPorts } from "../consensus/group-ports.ts";
import { declareConsensusMetrics } from "../consensus/metrics.ts";
import type { Env } from "../env/env.ts";
import { createJobArchive } from "../jobs/retention/job-archive-adapter.ts";
import { createNoticeSender } from "../jobs/webhooks/notice-sender-adapter.ts";
import { BackupSource } from "../kvstore/backup-source.ts";
import { KvGenerations } from "../kvstore/kv-generations.ts";
import { openHistoryLog } from "../kvstore/history-log.ts";
import { KvHistory } from "../kvstore/kv-history.ts";
import { KvState } from "../kvstore/kv-state.ts";
import { KvStore } from "../kvstore/kv-store.ts";
import { LeaseKeeper } from "../kvstore/lease-keeper.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import { MessageRouter } from "../net/message-router.ts";
import { ArtifactService } from "../slices/artifacts/artifact-service.ts";
import { createDirectoryBlobCache } from "../slices/artifacts/blob-cache-adapter.ts";
import { createBundleFiles } from "../slices/host/bundle-files-adapter.ts";
import { openSources } from "../slices/sources/open-sources.ts";
import { LocalCopies } from "../slices/artifacts/local-copies.ts";
import { SliceService } from "../slices/host/slice-service.ts";
import { type NodeConfig, readSecrets, voterOrder } from "./config.ts";
import type { SharedSettings } from "../cluster/membership/core/setting-differences.ts";
import { connectionsMax } from "./connection-limits.ts";
import { createMachineLook } from "./machine-facts-adapter.ts";
import { openNodeWork, type NodeWork } from "./node-work.ts";
import { checkHasCluster, peersOf } from "./peers.ts";
import { openAdvisorModel } from "../control/advisor-model.ts";
import { declareStatusMetrics } from "./status-metrics.ts";
import { instanceStopMs } from "./time-limits.ts";

/** So that whoever asked for it hears that it was heard. */
const KILL_AFTER_MS = 50;

export interface NodeParts {
  readonly api: ApiServer;
  readonly group: Group;
  readonly kv: KvStore;
  /** Connects to the peers and begins to take part. Everything is attached before the first message can arrive. */
  start(): void;
  /** An orderly end, before the parts are closed: own instances away, calls answered, state on disk. */
  drain(): Promise<void>;
}

/** What is opened is owned by `resources`. @throws AetherError E_UNAVAILABLE once `signal` is aborted */
export async function openNodeParts({ config, env, resources, signal, onFatal }: {
  readonly config: NodeConfig;
  readonly env: Env;
  readonly resources: ResourceStack;
  readonly signal: AbortSignal;
  readonly onFatal: (error: unknown) => void;
}): Promise<NodeParts> {
  const { telemetry } = env;
  const wal = resources.own(await env.logs.open("journal"));
  // Before anything that takes long: who probes the process must be told that it lives.
  const apiConnectionsMax = connectionsMax("clients", config.apiConnectionsMax);
  const api = resources.own(await ApiServer.open(env, { ...config, apiConnectionsMax }, readDashboard()));
  const generations = resources.own(await KvGenerations.open(env.store, { whenDamaged: "set-aside" }));
  const { cluster } = config;
  const running: { group?: GroupDriver } = {};
  const onStateFailed = (error: AetherError): void => {
    if (running.group !== undefined) running.group.stateFailed(error);
    // Damage that shows while the journal is applied is for the group to judge: others may have the state.
    else if (error.code !== "E_DATA_CORRUPT") onFatal(error);
  };
  const state = KvState.open({ generations, clock: env.clock, log: telemetry.log, cluster, onFatal: onStateFailed });
  // Before the group: what it applies from its journal belongs to the history too.
  const history = await openHistory(env, resources, state, cluster);
  const router = resources.own(await openRouter(config, env));
  const onReplay = (done: number, of: number): void => api.tellStarting(`${done} of ${of} records of its journal`);
  const starting = { signal, onReplay };
  const group = resources.own(await openGroup({ config, env, router, wal, state, starting, onFatal }));
  running.group = group;
  checkHasCluster(group.membership(), config);
  // Checkpoints need a group that runs: the last one is written before it closes.
  resources.own(state);
  const kv = new KvStore({ group, state, clock: env.clock, history });
  resources.defer(() => kv.close());
  const leases = new LeaseKeeper(env, { state, group, messaging: router }, config.node);
  resources.defer(() => leases.close());
  const work = openWork({ config, env, router, group, kv, onFatal });
  // After an orderly end there are none left; a node that fails must not go on as a process that only runs slices.
  resources.defer(() => work.close());
  resources.defer(() => work.copies.close());
  const backups = new BackupSource({ group, state, clock: env.clock });
  const stage = { isDraining: false };
  const services = apiServices({ config, env, group, kv, work, backups, stage, onFatal });
  api.serve(services);
  // Before everything that it asks.
  resources.defer(() => api.close());
  return {
    api,
    group,
    kv,
    start: () => {
      const tellPeers = (view: MembershipView): void => {
        router.setPeers(peersOf(view, { uid: group.origin.uid, config }));
      };
      tellPeers(group.membership());
      group.onMembership(tellPeers);
      group.start();
      leases.start();
      work.start();
      work.copies.start();
      router.start();
    },
    drain: async () => {
      stage.isDraining = true;
      api.sendClientsAway();
      await work.drainAndStop();
      await state.checkpoint();
    },
  };
}

async function openHistory(env: Env, resources: ResourceStack, state: KvState, cluster: string): Promise<KvHistory> {
  const { log } = env.telemetry;
  const disk = resources.own(await openHistoryLog(env, log));
  return KvHistory.open({ state, disk, log, cluster });
}

function openRouter(config: NodeConfig, env: Env): Promise<MessageRouter> {
  const { cluster, node, listen, join, peerFrameBytesMax: frameBytesMax } = config;
  return MessageRouter.open(env, { cluster, node, listen, join, frameBytesMax });
}

async function openGroup(parts: {
  readonly config: NodeConfig;
  readonly env: Env;
  readonly router: MessageRouter;
  readonly wal: Parameters<typeof GroupDriver.open>[0]["wal"];
  readonly state: KvState;
  readonly starting: StartPorts;
  readonly onFatal: (error: AetherError) => void;
}): Promise<GroupDriver> {
  const { config, env, router, wal, state, starting, onFatal } = parts;
  const ports = {
    clock: env.clock,
    random: env.random.fork("consensus"),
    log: env.telemetry.log,
    metrics: declareConsensusMetrics(env.telemetry),
    messaging: router,
    wal,
    stateMachine: state,
    starting,
    onFatal,
  };
  const { cluster, node, consensus } = config;
  try {
    return await GroupDriver.open(ports, {
      cluster,
      node,
      voters: voterOrder(config),
      address: config.advertise ?? router.url,
      windowSlots: consensus.windowSlots,
      pipelineSlots: consensus.pipelineSlots,
      logLimits: { slotsKept: consensus.logSlotsKept, bytesKept: consensus.logBytesKept },
    });
  } catch (error) {
    state.abandon();
    throw error;
  }
}

interface Work extends NodeWork {
  readonly copies: LocalCopies;
}

function openWork(parts: {
  readonly config: NodeConfig;
  readonly env: Env;
  readonly router: MessageRouter;
  readonly group: GroupDriver;
  readonly kv: KvStore;
  readonly onFatal: (error: unknown) => void;
}): Work {
  const { config, env, router, group, kv, onFatal } = parts;
  const cache = createDirectoryBlobCache(join(config.dataDir, "artifacts"));
  const bundles = createBundleFiles(join(config.dataDir, "bundles"));
  const self = {
    node: config.node,
    peerAddress: config.advertise ?? router.url,
    apiAddress: config.api,
    labels: config.labels,
    ...instanceLimits(config),
    capacity: { cpus: availableParallelism(), memoryBytes: totalmem() },
    settings: sharedSettings(config),
    artifacts: config.artifacts,
  };
  const { runtime, invocation, jobs, metrics, alerts } = config;
  const sources = openSources(config.artifacts.sources);
  const secrets = readSecrets(config, env.telemetry.log);
  const archive = jobs.archive === undefined ? {} : { archive: createJobArchive(jobs.archive) };
  const reach = { sender: createNoticeSender(), openModel: openAdvisorModel };
  const ports = { messaging: router, group, kv, bundles, cache, sources, secrets, ...archive, ...reach, onFatal };
  const work = openNodeWork(env, ports, { self, runtime, invocation, jobs, metrics, alerts });
  const copies = new LocalCopies(env, { kv, copies: [cache, bundles], onFatal });
  return { ...work, copies };
}

/** Whoever leads judges the work of every node by its own, and collects artifacts and jobs for all of them. */
function sharedSettings({ deployment, artifacts, jobs, peerFrameBytesMax }: NodeConfig): SharedSettings {
  const { stopDrainMsMax: _, ...limits } = deployment;
  const { keepHours, keepChunksMs } = artifacts;
  const { keepMs, keepOutcomeMs } = jobs;
  return {
    ...named("deployment", limits),
    ...named("artifacts", { keepHours, keepChunksMs }),
    ...named("jobs", { keepMs, keepOutcomeMs }),
    peerFrameBytesMax,
  };
}

function named(section: string, settings: SharedSettings): SharedSettings {
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`${section}.${name}`, value]));
}

function instanceLimits(config: NodeConfig): Pick<ClusterServicesConfig, "limits" | "stop"> {
  const { loadingMsMax, activatingMsMax, deactivatingMsMax, unloadingMsMax, lateMsMax, stopDrainMsMax } =
    config.deployment;
  return {
    limits: {
      loadingMs: loadingMsMax,
      activatingMs: activatingMsMax,
      deactivatingMs: deactivatingMsMax,
      unloadingMs: unloadingMsMax,
      lateMs: lateMsMax,
    },
    stop: { drainMs: stopDrainMsMax, stopMs: instanceStopMs(config) },
  };
}

function apiServices(parts: {
  readonly config: NodeConfig;
  readonly env: Env;
  readonly group: GroupDriver;
  readonly kv: KvStore;
  readonly work: Work;
  readonly backups: BackupSource;
  readonly stage: { readonly isDraining: boolean };
  readonly onFatal: (error: unknown) => void;
}): ApiServices {
  const { config, env, group, kv, work, backups, stage, onFatal } = parts;
  const { jobCounts: jobs, metrics, alerts } = work;
  const tellStatus = declareStatusMetrics(env.telemetry, { group, kv, jobs, metrics, alerts });
  return {
    kv,
    artifacts: new ArtifactService(work.artifacts, work.cluster.removal),
    blueprints: work.blueprints,
    slices: new SliceService({
      blueprints: work.blueprints,
      readLines: (slice, query) => work.slices.readLines(slice, query),
      clusterLog: work.clusterLog,
      life: group.origin.incarnation,
    }),
    topics: work.cluster.topics.admin,
    calls: work.invoker,
    jobs: work.jobs,
    events: work.events,
    sliceRoutes: work.cluster.routes,
    health: {
      isLive: () => true,
      readiness: () => {
        // Who asks for a node to use should find another one before this one is gone.
        if (stage.isDraining) return { isReady: false, reason: "the node is stopping" };
        const { isReady, notReadyReason } = group.status();
        const standstill = work.metrics.stalls().find(({ kind }) => kind === "apply");
        if (isReady && standstill !== undefined) return { isReady: false, reason: standstill.text };
        return notReadyReason === undefined ? { isReady } : { isReady, reason: notReadyReason };
      },
    },
    members: { change: (change, timeoutMs) => changeMembers({ clock: env.clock, group }, change, timeoutMs) },
    nodes: work.cluster.intents,
    ...(config.apiKill === "allowed" && { killSelf: () => void env.clock.setTimer(KILL_AFTER_MS, killThisProcess) }),
    cluster: () => clusterView({ config, group, kv, cluster: work.cluster, metrics: work.metrics }),
    backups,
    metrics: work.metrics,
    machine: createMachineLook(config.dataDir),
    wallMs: () => env.clock.wallMs(),
    logLevels: env.telemetry.levels,
    control: work.control,
    alerts: work.alerts,
    metricsText: () => {
      tellStatus();
      return env.telemetry.exposition();
    },
    onBroken: onFatal,
  };
}

function killThisProcess(): void {
  process.kill(process.pid, "SIGKILL");
}

function clusterView(parts: {
  readonly config: NodeConfig;
  readonly group: Group & GroupMembership;
  readonly kv: KvStore;
  readonly cluster: ClusterServices;
  readonly metrics: ClusterMetrics;
}): ClusterView {
  const { config, group, kv, cluster, metrics } = parts;
  const told = metrics.latest()?.snapshot.nodes ?? [];
  const { quorum, decided, applied, convener } = group.status();
  const { version, voters, pending, supported } = group.membership();
  return {
    cluster: config.cluster,
    node: config.node,
    version,
    nodes: cluster.membership.nodes.map((view) => ({
      id: view.node,
      role: view.isVoter ? "voter" : "member",
      isLost: view.isLost,
      status: view.status,
      instances: cluster.instancesOn(view.node),
      jobs: told.find(({ node, isStale }) => node === view.node && !isStale)?.facts.jobsRunning,
      address: view.row?.apiAddress,
      directory: view.uid,
      peerAddress: view.peerAddress,
      labels: view.row?.labels ?? {},
      lastSeenMs: view.lastSeenMs,
      slotsBehind: view.applied === undefined ? undefined : Math.max(0, decided - view.applied),
      catchUp: view.catchUp,
      supportedVersion: supported.get(view.node),
    })),
    differences: cluster.membership.differences,
    voters,
    pending,
    convener,
    leader: leaderOf(cluster),
    quorum,
    slots: { decided, applied },
    revision: kv.revision,
  };
}

function leaderOf(cluster: ClusterServices): { readonly node: NodeId; readonly epoch: number } | undefined {
  const leader = cluster.leadership.current();
  return leader === undefined ? undefined : { node: leader.node, epoch: leader.epoch };
}

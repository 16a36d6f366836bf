// Owns: a real API server on a free port, over the real store of one process and scripted services.
import type { CancelSignal } from "../../../src/base/cancellation.ts";
import { AetherError, type ErrorBody } from "../../../src/base/errors.ts";
import { parseArtifactId, parseNodeId, type ArtifactId } from "../../../src/base/ids.ts";
import { sha256 } from "../../../src/base/digest.ts";
import { LogLevels } from "../../../src/base/log-levels.ts";
import type { AlertView } from "../../../src/alerts/core/alert-view.ts";
import { ApiConfig } from "../../../src/api/config.ts";
import { ApiServer } from "../../../src/api/server.ts";
import type { StaticFiles } from "../../../src/api/static-files.ts";
import type { ApiServices, ClusterNodeView, ClusterView, KillSelf } from "../../../src/api/services.ts";
import { ClusterViews } from "../../../src/cluster/cluster-views.ts";
import { TopicAdmin } from "../../../src/cluster/topics/topic-admin.ts";
import { TopicView } from "../../../src/cluster/topics/topic-view.ts";
import { LeadingVersions } from "../../../src/cluster/rollouts/leading-versions.ts";
import { RouteTable } from "../../../src/cluster/endpoints/route-table.ts";
import { BackupSource } from "../../../src/kvstore/backup-source.ts";
import type { MembershipChange } from "../../../src/consensus/group.ts";
import { ControlService } from "../../../src/control/control-service.ts";
import { ControlView } from "../../../src/control/control-view.ts";
import { sliceFactsOf } from "../../../src/control/slice-facts.ts";
import type { Clock } from "../../../src/env/clock.ts";
import { MetricsStore } from "../../../src/metrics/metrics-store.ts";
import { EventHub } from "../../../src/metrics/events/event-hub.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import type { CallReply, OutgoingCall } from "../../../src/slices/host/outgoing-calls.ts";
import { scriptedJobs, type ScriptedJobs } from "../../support/scripted-jobs.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { createTestTelemetry, type LogLine } from "./test-telemetry.ts";

export type CallScript = (call: OutgoingCall, signal: CancelSignal | undefined) => Promise<CallReply>;

export interface ApiFixture {
  readonly url: string;
  readonly name: string;
  readonly local: LocalKv;
  readonly log: LogLine[];
  readonly calls: OutgoingCall[];
  readonly jobs: ScriptedJobs;
  readonly events: EventHub;
  readonly broken: Error[];
  /** What fires. */
  readonly alerts: AlertView[];
  /** Says that they have changed, those of this node itself. */
  tellAlerts(): void;
  readonly health: { isReady: boolean };
  /** What is kept of the cluster's metrics: nothing until a test puts it there. */
  readonly metrics: MetricsStore;
  /** Where this node says that others are. */
  readonly others: string[];
  readonly changes: MembershipChange[];
  /** Nodes to drain; without `isForced` those whose drain was cancelled. */
  readonly drains: { readonly node: string; readonly isForced?: boolean }[];
  /** How often the view of the cluster was asked for. */
  views(): number;
  /** Puts one more node into the view of the cluster, or changes one that was put there. */
  addNode(node: Pick<ClusterNodeView, "id"> & Partial<ClusterNodeView>): void;
  /** Decides what the next changes of the membership come to. */
  changeScript: (change: MembershipChange) => Promise<void>;
  /** Decides what the next calls answer. */
  script: CallScript;
  /** Lines of refused requests, which is what people look for. */
  refusals(): readonly LogLine[];
  /** As a node that is about to stop does. */
  sendClientsAway(): void;
  close(): Promise<void>;
}

export interface ApiOptions extends Partial<Omit<ApiConfig, "api">> {
  readonly files?: StaticFiles;
  readonly killSelf?: KillSelf;
  /** Scripted ones when absent. */
  readonly blueprints?: ApiServices["blueprints"];
  /** By which the metrics that are kept grow old. */
  readonly metricsClock?: Pick<Clock, "nowMs" | "wallMs">;
}

export async function openApi(
  node = "n1",
  shared?: LocalKv,
  { files, killSelf, metricsClock, blueprints = scriptedBlueprints(), ...options }: ApiOptions = {},
): Promise<ApiFixture> {
  const local = shared ?? (await createLocalKv());
  const log: LogLine[] = [];
  const clock = createRealClock();
  const fixture: Pick<
    ApiFixture,
    "calls" | "jobs" | "events" | "broken" | "alerts" | "health" | "others" | "script" | "changes" | "drains" |
    "changeScript"
  > = {
    changes: [],
    drains: [],
    changeScript: () => Promise.resolve(),
    calls: [],
    jobs: scriptedJobs(),
    events: new EventHub({ node: parseNodeId(node), incarnation: 1 }),
    broken: [],
    alerts: [],
    health: { isReady: true },
    others: [],
    script: (call) => Promise.resolve({ kind: "ok", output: { echo: call.input }, attempts: 1 }),
  };
  const metrics = new MetricsStore(metricsClock ?? clock);
  let url = "http://127.0.0.1:1";
  let views = 0;
  const alertListeners = new Set<() => void>();
  const nodes = new Map<string, ClusterNodeView>();
  const viewEnv = { clock, log: createTestTelemetry(log).log };
  const clusterViews = new ClusterViews(viewEnv, local.kv);
  const leading = new LeadingVersions(clusterViews);
  const sliceRoutes = new RouteTable(viewEnv, local.kv, leading);
  const topicView = new TopicView(viewEnv, local.kv, leading);
  let ids = 0;
  const topics = new TopicAdmin({ kv: local.kv, view: topicView, nextId: () => `new${++ids}` });
  const controlView = new ControlView(viewEnv, local.kv);
  controlView.open();
  topicView.open();
  clusterViews.open();
  sliceRoutes.open();
  const services: ApiServices = {
    machine: () => Promise.resolve({
      nodeVersion: "20.20.0", sync: { couldNot: "none" }, space: { couldNot: "none" },
      descriptors: { couldNot: "none" },
    }),
    alerts: {
      list: () => ({ alerts: fixture.alerts, judged: null, webhooks: [] }),
      onOwnChange: (listener) => {
        alertListeners.add(listener);
        return () => alertListeners.delete(listener);
      },
    },
    wallMs: () => 1_000,
    logLevels: new LogLevels("info"),
    sliceRoutes,
    topics,
    kv: local.kv,
    artifacts: scriptedArtifacts(),
    blueprints,
    slices: scriptedSlices(),
    jobs: fixture.jobs,
    events: fixture.events,
    backups: new BackupSource({ group: local.group, state: local.state, clock }),
    calls: {
      call: (call, signal) => {
        fixture.calls.push(call);
        return fixture.script(call, signal);
      },
    },
    health: {
      isLive: () => true,
      readiness: () => (fixture.health.isReady ? { isReady: true } : { isReady: false, reason: "catching up" }),
    },
    cluster: () => {
      views += 1;
      const own = { address: url, peerAddress: "ws://127.0.0.1:2", lastSeenMs: 5, supportedVersion: 1 };
      const all = [
        scriptedNode({ id: node, status: "on-duty", slotsBehind: 0, ...own }),
        scriptedNode({ id: "n9", labels: { zone: "a" } }),
        ...fixture.others.map((address, at) => {
          return scriptedNode({ id: `other${at}`, role: "member", status: "on-duty", address, lastSeenMs: 5 });
        }),
        ...nodes.values(),
      ];
      return { ...scriptedCluster(node, all), revision: local.kv.revision };
    },
    members: {
      change: (change) => {
        fixture.changes.push(change);
        return fixture.changeScript(change);
      },
    },
    nodes: {
      drain: async (node, { isForced }) => void fixture.drains.push({ node, isForced }),
      cancelDrain: async (node) => void fixture.drains.push({ node }),
    },
    metrics,
    ...(killSelf !== undefined && { killSelf }),
    control: new ControlService({
      kv: local.kv, control: controlView, views: clusterViews, time: clock, leader: () => node, recent: () => [],
      facts: () => sliceFactsOf({
        views: clusterViews, membership: { nodes: [] }, pinnedBy: (slice) => controlView.pinnedBy(slice),
        agoMs: () => 0,
      }),
    }),
    metricsText: () => Promise.resolve("# HELP aether_up Whether it runs.\naether_up 1\n"),
    onBroken: (failure) => fixture.broken.push(failure),
  };
  const config = ApiConfig.parse({ ...options, api: "http://127.0.0.1:0" });
  const server = await ApiServer.open({ clock, telemetry: createTestTelemetry(log) }, config, files);
  server.serve(services);
  url = server.url;
  return Object.assign(fixture, {
    metrics,
    views: () => views,
    tellAlerts: () => {
      for (const listener of alertListeners) listener();
    },
    addNode: (view: Pick<ClusterNodeView, "id"> & Partial<ClusterNodeView>) => nodes.set(view.id, scriptedNode(view)),
    url: server.url,
    name: node,
    local,
    log,
    refusals: () => log.filter((line) => /refused|garbage/.test(line.event)),
    sendClientsAway: () => server.sendClientsAway(),
    close: async () => {
      await server.close();
      await topicView.close();
      await controlView.close();
      await sliceRoutes.close();
      await clusterViews.close();
      if (shared === undefined) await local.close();
    },
  });
}

function scriptedNode(node: Pick<ClusterNodeView, "id"> & Partial<ClusterNodeView>): ClusterNodeView {
  return {
    role: "voter",
    isLost: false,
    status: "gone",
    instances: 0,
    jobs: undefined,
    directory: undefined,
    address: undefined,
    peerAddress: undefined,
    labels: {},
    lastSeenMs: undefined,
    slotsBehind: undefined,
    catchUp: undefined,
    supportedVersion: undefined,
    ...node,
  };
}

function scriptedCluster(node: string, nodes: readonly ClusterNodeView[]): Omit<ClusterView, "revision"> {
  return {
    cluster: "demo",
    node,
    version: 1,
    nodes,
    voters: [node, "n9"],
    pending: undefined,
    convener: "n1",
    leader: { node, epoch: 3 },
    differences: [],
    quorum: { need: 2, have: 2, canLose: 0 },
    slots: { decided: 7, applied: 7 },
  };
}

export function failWith(error: ErrorBody): CallScript {
  return () => Promise.resolve({ kind: "error", error, attempts: 1 });
}

function scriptedArtifacts(): ApiServices["artifacts"] {
  const stored = new Map<ArtifactId, Uint8Array>();
  return {
    push: (archive, options = {}) => {
      const artifact = options.expect ?? parseArtifactId("demo:none:1.0.0");
      const before = stored.get(artifact);
      if (before !== undefined && !Buffer.from(before).equals(archive)) {
        return Promise.reject(new AetherError("E_CONFLICT", `${artifact} has other content`));
      }
      stored.set(artifact, archive);
      return Promise.resolve({ artifact, digest: sha256(archive) });
    },
    list: () =>
      Promise.resolve([...stored].map(([artifact, archive]) => ({ artifact, digest: sha256(archive) }))),
    manifest: (artifact) =>
      stored.has(artifact)
        ? Promise.resolve({ artifact })
        : Promise.reject(new AetherError("E_NOT_FOUND", `there is no artifact ${artifact}`)),
    remove: (artifact) =>
      stored.delete(artifact)
        ? Promise.resolve()
        : Promise.reject(new AetherError("E_NOT_FOUND", `there is no artifact ${artifact}`)),
  };
}

/** One slice, orders, that has said two lines. */
function scriptedSlices(): ApiServices["slices"] {
  const unknown = (slice: string): Promise<never> =>
    Promise.reject(new AetherError("E_NOT_FOUND", `no blueprint has a slice "${slice}"`));
  const line = { instance: "demo:orders:1.0.0/0", level: "info" } as const;
  const lines = [
    { ...line, number: 1, atMs: 1_700_000_000_000, text: "order placed", fields: { fields: { id: 7 } } },
    { ...line, number: 2, atMs: 1_700_000_000_001, text: "two\nlines \u001b[31m" },
  ];
  return {
    log: (slice, { linesMax, after }) => {
      if (slice !== "orders") return unknown(slice);
      const found = lines.filter(({ number }) => `7-${number}` > (after ?? "7-0")).slice(-linesMax);
      return Promise.resolve({ lines: found, next: "7-2", isComplete: true });
    },
    logOfAll: (slice, linesMax) => {
      if (slice !== "orders") return unknown(slice);
      const found = lines.map((one, at) => ({ ...one, node: parseNodeId(`n${at + 1}`) })).slice(-linesMax);
      return Promise.resolve({ lines: found, silent: [parseNodeId("n3")] });
    },
    scale: (slice, instances) =>
      slice === "orders"
        ? Promise.resolve({ slice, instances, minAvailable: 1, blueprint: "shop", revision: 3 })
        : unknown(slice),
  };
}

/** A rollout that waits. */
const COMING = {
  strategy: "canary", stage: "shifting", since: 1, targetPercent: 5,
  from: { artifact: "demo:orders:0.9.0", revision: 1 }, to: { artifact: "demo:orders:1.0.0", revision: 2 },
  waitsFor: { what: "calls", message: "12 of 50 calls", isLate: false },
};

function scriptedBlueprints(): ApiServices["blueprints"] {
  const stored = new Map<string, { document: unknown; revision: number }>();
  const status = (name: string): unknown => {
    const found = stored.get(name);
    if (found === undefined) return undefined;
    const instance = { node: "n1", instance: 0, artifact: "demo:orders:1.0.0", state: "ACTIVE", since: 1 };
    const orders = name === "late"
      ? { artifact: "demo:orders:1.0.0", want: 1, active: 0, instances: [], waitsFor: ["stock"], rollout: COMING }
      : { artifact: "demo:orders:1.0.0", want: 1, active: 1, instances: [instance] };
    return { name, revision: found.revision, slices: { orders } };
  };
  return {
    apply: (name, document) => {
      const revision = (stored.get(name)?.revision ?? 0) + 1;
      stored.set(name, { document, revision });
      return Promise.resolve({ name, revision });
    },
    get: (name) => Promise.resolve(stored.get(name)?.document),
    schedules: () => Promise.resolve([
      { blueprint: "shop", slice: "books", name: "close", cron: "0 3 * * *", timeZone: "UTC", method: "close" },
      {
        blueprint: "shop", slice: "claims", agent: "claims", name: "nightly", cron: "0 3 * * *", timeZone: "UTC",
        overlap: "skip", last: { state: "skipped", tick: 1_700_000_000_000 }, job: "claim-17",
      },
    ]),
    list: () => Promise.resolve([...stored].map(([name, { revision }]) => ({ name, revision }))),
    delete: (name) => {
      const found = stored.get(name);
      if (!stored.delete(name)) return Promise.reject(new AetherError("E_NOT_FOUND", `no blueprint ${name}`));
      return Promise.resolve({ name, revision: found?.revision });
    },
    rollback: (name, to) => {
      const found = stored.get(name);
      if (found === undefined) return Promise.reject(new AetherError("E_NOT_FOUND", `no blueprint ${name}`));
      const revision = found.revision + 1;
      stored.set(name, { ...found, revision });
      return Promise.resolve({ name, revision, rolledBackTo: to ?? revision - 2 });
    },
    status: (name) => Promise.resolve(status(name)),
  };
}

// Owns: metrics of what a node can be asked for at any time: they are set when somebody reads them, and cost nothing
// otherwise. Does not own: metrics of what happens, which those count to whom it happens.
import type { Alerts } from "../alerts/alert-service.ts";
import { ALERT_NAMES, alertRule } from "../alerts/core/alert-rules.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Group, GroupMembership } from "../consensus/group.ts";
import type { GroupDriver } from "../consensus/group-driver.ts";
import type { Counter, MetricSpec, Telemetry } from "../env/telemetry.ts";
import type { JobCounts } from "../jobs/job-counts.ts";
import { WAITING_FACTS } from "../jobs/job-facts.ts";
import type { KvStore } from "../kvstore/kv-store.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";

export interface StatusSources {
  readonly group: Pick<
    Group & GroupMembership & GroupDriver,
    "status" | "membership" | "counts" | "pendingCommands" | "logStart" | "patienceFirings"
  >;
  readonly kv: Pick<KvStore, "observe" | "usage" | "revision">;
  readonly jobs: JobCounts;
  readonly metrics: Pick<ClusterMetrics, "own">;
  readonly alerts: Alerts;
}

/** Declares the metrics; what it gives sets them to what is so now. */
export function declareStatusMetrics(telemetry: Telemetry, sources: StatusSources): () => void {
  const tellStore = declareStoreMetrics(telemetry, sources.kv);
  const tellGroup = declareGroupMetrics(telemetry, sources.group);
  const tellConsensus = declareConsensusCounts(telemetry, sources.group);
  const tellJobs = declareJobCounts(telemetry, sources.jobs);
  const tellWork = declareWorkMetrics(telemetry, sources.metrics);
  const tellAlerts = declareAlertMetrics(telemetry, sources.alerts);
  return () => {
    tellStore();
    tellGroup();
    tellConsensus();
    tellJobs();
    tellWork();
    tellAlerts();
  };
}

function declareStoreMetrics(telemetry: Telemetry, kv: StatusSources["kv"]): () => void {
  const revision = telemetry.gauge({ name: "aether_store_revision", help: "The revision of the store on this node." });
  const live = telemetry.gauge({ name: "aether_store_live_bytes", help: "What the store weighs, for its quota." });
  const quota = telemetry.gauge({ name: "aether_store_quota_bytes", help: "What the store may weigh." });
  const oldest = telemetry.gauge({
    name: "aether_history_oldest_revision",
    help: "The oldest revision that can be watched or read from on this node.",
  });
  const history = telemetry.gauge({
    name: "aether_history_bytes",
    help: "What the past weighs; the newest part is in memory and on disk.",
    labels: ["place"],
  });
  const watches = telemetry.gauge({ name: "aether_watches", help: "Watches that are open on this node." });
  const behind = telemetry.gauge({
    name: "aether_watches_behind",
    help: "Watches that do not have everything: their readers are slow, or began in the past.",
  });
  const ended = telemetry.counter({
    name: "aether_watches_ended_total",
    help: "Watches that this node has ended, by the code of the reason.",
    labels: ["code"],
  });
  const tellEnded = totalsOf(ended, "code");
  return () => {
    const { watches: seen, history: past } = kv.observe();
    const { liveBytes, quotaBytes } = kv.usage();
    revision.set(kv.revision);
    live.set(liveBytes);
    quota.set(quotaBytes);
    oldest.set(past.oldestRevision);
    history.set(past.memoryBytes, { place: "memory" });
    history.set(past.diskBytes, { place: "disk" });
    watches.set(seen.open);
    behind.set(seen.behind);
    tellEnded(seen.ended);
  };
}

function declareGroupMetrics(telemetry: Telemetry, group: StatusSources["group"]): () => void {
  const ready = telemetry.gauge({ name: "aether_node_ready", help: "1 when this node can serve, else 0." });
  const members = telemetry.gauge({
    name: "aether_members",
    help: "Nodes of the cluster, by role.",
    labels: ["role"],
  });
  const quorum = telemetry.gauge({ name: "aether_quorum_needed", help: "Voters that a quorum needs." });
  const seen = telemetry.gauge({ name: "aether_quorum_seen", help: "Voters that this node sees, itself included." });
  const version = telemetry.gauge({ name: "aether_cluster_version", help: "What every node has to understand." });
  const lag = telemetry.gauge({
    name: "aether_catch_up_slots",
    help: "How many slots this node is behind the one that is furthest; 0 when it follows.",
  });
  const received = telemetry.gauge({
    name: "aether_catch_up_snapshot_bytes",
    help: "What this node has of the snapshot that it fetches; 0 when it fetches none.",
  });
  return () => {
    const { isReady, quorum: counted, catchUp } = group.status();
    const { members: all, version: current } = group.membership();
    const voters = all.filter(({ isVoter }) => isVoter).length;
    ready.set(isReady ? 1 : 0);
    members.set(voters, { role: "voter" });
    members.set(all.length - voters, { role: "member" });
    quorum.set(counted.need);
    seen.set(counted.have);
    version.set(current);
    lag.set(catchUp?.slotsBehind ?? 0);
    received.set(catchUp?.bytesReceived ?? 0);
  };
}

function declareConsensusCounts(telemetry: Telemetry, group: StatusSources["group"]): () => void {
  const slots = telemetry.counter({
    name: "aether_consensus_slots_total",
    help: "Slots decided on this node, by outcome and by how it learned it.",
    labels: ["outcome", "learned"],
  });
  const tellSlots = (["voted", "told"] as const).flatMap((learned) => (["value", "null"] as const).map((outcome) => {
    const tell = totalOf(slots, { outcome, learned });
    return () => tell(group.counts.decided[learned][outcome]);
  }));
  const counter = (spec: MetricSpec): Tell => totalOf(telemetry.counter(spec), undefined);
  const late = counter({
    name: "aether_consensus_late_phases_total",
    help: "Slots that needed more than one phase of the binary agreement.",
  });
  const batches = counter({
    name: "aether_consensus_batches_total",
    help: "Batches of commands of this node that were proposed.",
  });
  const commands = counter({ name: "aether_consensus_batch_commands_total", help: "Commands in those batches." });
  const patience = counter({
    name: "aether_consensus_patience_total",
    help: "How often this node did by itself what it had waited for others to do: proposed, or gave a slot up.",
  });
  const refused = counter({
    name: "aether_consensus_refused_messages_total",
    help: "Payloads of peers that could not be decoded.",
  });
  const pending = telemetry.gauge({
    name: "aether_consensus_pending_commands",
    help: "Commands accepted on this node and not answered yet.",
  });
  const applied = telemetry.gauge({ name: "aether_consensus_applied_slots", help: "Slots applied on this node." });
  const logStart = telemetry.gauge({
    name: "aether_consensus_log_start_slots",
    help: "The oldest slot that this node can give to others; one that is further behind fetches the state.",
  });
  return () => {
    for (const tell of tellSlots) tell();
    late(group.counts.latePhases);
    batches(group.counts.batches);
    commands(group.counts.batchCommands);
    patience(group.patienceFirings);
    refused(group.counts.refusedMessages);
    pending.set(group.pendingCommands);
    applied.set(group.status().applied);
    logStart.set(group.logStart);
  };
}

function declareJobCounts(telemetry: Telemetry, jobs: JobCounts): () => void {
  const events = telemetry.counter({
    name: "aether_job_events_total",
    help: "Events in the logs of jobs that this node wrote, by type: steps, calls of tools, ends of jobs.",
    labels: ["type"],
  });
  const tellEvents = totalsOf(events, "type");
  return () => tellEvents(jobs.all());
}

/** As this node reported last. */
function declareWorkMetrics(telemetry: Telemetry, metrics: StatusSources["metrics"]): () => void {
  const running = telemetry.gauge({ name: "aether_jobs_running", help: "Jobs that this node runs." });
  const runnable = telemetry.gauge({
    name: "aether_jobs_runnable",
    help: "Jobs of the cluster that wait for a node to run them: every node says the same.",
  });
  const waiting = telemetry.gauge({
    name: "aether_jobs_waiting",
    help: "Jobs of the cluster that wait, by what they wait for: every node says the same.",
    labels: ["reason"],
  });
  const oldestRunnable = telemetry.gauge({
    name: "aether_jobs_oldest_runnable_seconds",
    help: "How long the first of the jobs that wait for a node has waited.",
  });
  const oldestUnknown = telemetry.gauge({
    name: "aether_jobs_oldest_unknown_seconds",
    help: "How long the first job has waited for somebody to say what became of a call.",
  });
  const stalled = telemetry.gauge({
    name: "aether_apply_stalled_seconds",
    help: "How long this node has applied nothing although there was something to apply.",
  });
  return () => {
    const facts = metrics.own()?.facts ?? {};
    running.set(facts.jobsRunning ?? 0);
    runnable.set(facts.jobsRunnable ?? 0);
    for (const [reason, fact] of WAITING_FACTS) waiting.set(facts[fact] ?? 0, { reason });
    oldestRunnable.set((facts.oldestRunnableMs ?? 0) / SECOND_MS);
    oldestUnknown.set((facts.oldestUnknownMs ?? 0) / SECOND_MS);
    stalled.set((facts.applyStalledMs ?? 0) / SECOND_MS);
  };
}

/** One value per alert that there is, whatever it is about. */
function declareAlertMetrics(telemetry: Telemetry, alerts: Alerts): () => void {
  const firing = telemetry.gauge({
    name: "aether_alerts_firing",
    help: "Alerts that fire, by name: those of the cluster on every node alike, and those of this node.",
    labels: ["alert", "severity"],
  });
  return () => {
    const names = alerts.list({ state: "firing" }).alerts.map(({ alert }) => alert);
    for (const alert of ALERT_NAMES) {
      firing.set(names.filter((one) => one === alert).length, { alert, severity: alertRule(alert).severity });
    }
  };
}

type Tell = (total: number) => void;

/** Tells a counter what somebody else has counted. */
function totalOf(counter: Counter, labels: Readonly<Record<string, string>> | undefined): Tell {
  let told = 0;
  return (total) => {
    counter.add(total - told, labels);
    told = total;
  };
}

/** The same, of a counter that has one for each value of a label. */
function totalsOf(
  counter: Counter,
  label: string,
): (totals: Iterable<readonly [value: string, total: number]>) => void {
  const tells = new Map<string, Tell>();
  return (totals) => {
    for (const [value, total] of totals) {
      const tell = tells.get(value) ?? totalOf(counter, { [label]: value });
      tells.set(value, tell);
      tell(total);
    }
  };
}

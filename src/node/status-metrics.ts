// Owns: metrics of what a node can be asked for at any time: they are set when somebody reads them, and cost nothing
// otherwise. Does not own: metrics of what happens, which those count to whom it happens.
import type { Group, GroupMembership } from "../consensus/group.ts";
import type { Telemetry } from "../env/telemetry.ts";
import type { KvStore } from "../kvstore/kv-store.ts";

export interface StatusSources {
  readonly group: Pick<Group & GroupMembership, "status" | "membership">;
  readonly kv: Pick<KvStore, "observe" | "usage" | "revision">;
}

/** Declares the metrics; what it gives sets them to what is so now. */
export function declareStatusMetrics(telemetry: Telemetry, sources: StatusSources): () => void {
  const tellStore = declareStoreMetrics(telemetry, sources.kv);
  const tellGroup = declareGroupMetrics(telemetry, sources.group);
  return () => {
    tellStore();
    tellGroup();
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
  const told = new Map<string, number>();
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
    for (const [code, count] of seen.ended) {
      ended.add(count - (told.get(code) ?? 0), { code });
      told.set(code, count);
    }
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

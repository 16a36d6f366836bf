// Owns: what is good and bad of what was seen of a cluster and its machines, and what to do about it. Pure.
import type { ShownAlert } from "../alert-view.ts";
import type { MachineFacts } from "../../api/services.ts";
import { GiB, MiB, SECOND_MS } from "../../base/units.ts";
import type { ClusterStatus, ClusterStatusNode } from "../cluster-view.ts";

/**
 * `warning`: it goes on, and is worth a look. `problem`: a person has to do something. `unknown`: it could not be
 * looked at, `what` says why, and a person has to look.
 */
export type FindingLevel = "ok" | "warning" | "problem" | "unknown";

export interface Finding {
  readonly check: string;
  /** Of which node or machine; absent where it is of the cluster. */
  readonly of?: string;
  readonly level: FindingLevel;
  readonly what: string;
  /** What to do; present in warnings and problems. */
  readonly advice?: string;
}

/** What a node said of itself. */
export interface SeenNode {
  readonly id: string;
  readonly isReady: boolean;
  readonly reason?: string | undefined;
  readonly machine: MachineFacts;
  /** How far its clock is from the asker's. */
  readonly clockMs: number;
  /** Half of the time that the question about the clock took. */
  readonly clockErrorMs: number;
  readonly store: { readonly liveBytes: number; readonly quotaBytes: number };
}

export interface UnseenNode {
  readonly id: string;
  readonly couldNot: string;
}

/** What nobody could look at is not well: a disk that takes no file of a probe takes none of the node either. */
export function needsPerson(findings: readonly Finding[]): boolean {
  return findings.some(({ level }) => level === "problem" || level === "unknown");
}

/** Below it nothing of this build runs. */
const NODE_MIN = [20, 20] as const;
const SYNC_MS_SLOW = 20;
const SYNC_MS_BAD = 200;
const FREE_PART_LOW = 0.1;
const FREE_BYTES_LOW = 2 * GiB;
const FREE_BYTES_BAD = 512 * MiB;
/** Connections of clients and peers, files of the store and a worker's own, with the settings that nodes begin with. */
const DESCRIPTORS_MIN = 4_096;
const USED_PART_HIGH = 0.8;
/** As nodes judge each other. */
const CLOCK_MS_MAX = SECOND_MS;
const LAG_SLOTS_HIGH = 5_000;

export function clusterFindings(view: ClusterStatus): readonly Finding[] {
  return [quorumFinding(view), leaderFinding(view), versionFinding(view), ...settingFindings(view),
    ...view.nodes.flatMap((node) => memberFindings(node))];
}

function quorumFinding({ quorum, voters }: ClusterStatus): Finding {
  const { need, have, canLose } = quorum;
  const seen = `${have} of ${voters.length} voters are seen, ${need} are needed`;
  if (have < need) {
    const advice = "start the missing voters; if their disks are lost for good, see docs/operations/recovering.md";
    return { check: "quorum", level: "problem", what: `no writes: ${seen}`, advice };
  }
  if (canLose > 0) return { check: "quorum", level: "ok", what: `${seen}; ${canLose} may be lost` };
  if (voters.length > 2) {
    const advice = "start the missing voters, or `aether node replace` those whose disks are lost";
    return { check: "quorum", level: "problem", what: `${seen}: no other voter may fail`, advice };
  }
  const advice = "let nodes join and `aether node promote` them, until there are three voters";
  return { check: "quorum", level: "warning", what: `of ${voters.length} voters none may fail`, advice };
}

function leaderFinding({ leader }: ClusterStatus): Finding {
  if (leader !== null) return { check: "leader", level: "ok", what: `${leader.node}, epoch ${leader.epoch}` };
  const advice = "look again in some seconds; without a quorum there is none, see that first";
  return { check: "leader", level: "warning", what: "nobody leads: nothing is placed or scheduled", advice };
}

function versionFinding({ version, nodes }: ClusterStatus): Finding {
  const ahead = nodes.filter(({ supportedVersion }) => supportedVersion !== null && supportedVersion > version);
  if (ahead.length === 0) return { check: "versions", level: "ok", what: `the cluster is at version ${version}` };
  const behind = nodes.filter((node) => !ahead.includes(node)).map(({ id }) => id);
  const what = `the cluster stays at version ${version} while ${behind.join(", ")} know no later one or are away`;
  const advice = "exchange the build of these nodes, or remove those that will not come back";
  return behind.length === 0
    ? { check: "versions", level: "ok", what: `version ${version} is about to rise` }
    : { check: "versions", level: "warning", what, advice };
}

function settingFindings({ differences }: ClusterStatus): readonly Finding[] {
  if (differences.length === 0) {
    return [{ check: "settings", level: "ok", what: "what has to be equal on all nodes is" }];
  }
  return differences.map(({ setting, values }) => ({
    check: "settings",
    level: "problem",
    what: `${setting} is ${values.map(({ node, value }) => `${value} on ${node}`).join(", ")}`,
    advice: "make it equal in the configurations, and restart the nodes that are changed",
  }));
}

/** What the others say of it. */
function memberFindings(node: ClusterStatusNode): readonly Finding[] {
  const { id, isLost, slotsBehind, catchUp } = node;
  if (isLost) {
    const advice = "start it with an empty data directory and `join`";
    return [{ check: "members", of: id, level: "problem", what: "its disk was declared lost", advice }];
  }
  const slots = catchUp?.slotsBehind ?? slotsBehind ?? 0;
  if (slots <= LAG_SLOTS_HIGH) return [{ check: "lag", of: id, level: "ok", what: `${slots} slots behind` }];
  const advice = catchUp === null
    ? "it does not get nearer by itself when its disk or processor is the limit: look at both"
    : "it catches up by itself; look again";
  return [{ check: "lag", of: id, level: "warning", what: `${slots} slots behind the log`, advice }];
}

export function nodeFindings(node: SeenNode): readonly Finding[] {
  const { id, isReady, reason = "it does not say why", machine } = node;
  const ready: Finding = isReady
    ? { check: "ready", of: id, level: "ok", what: "it serves" }
    : { check: "ready", of: id, level: "problem", what: `it does not serve: ${reason}`, advice: "see its log" };
  return [ready, ...machineFindings(id, machine), storeFinding(node)];
}

/** `of`: a node, or `this machine`. */
export function machineFindings(of: string, machine: MachineFacts): readonly Finding[] {
  return [nodeVersionFinding(of, machine), syncFinding(of, machine), spaceFinding(of, machine),
    descriptorsFinding(of, machine)];
}

function nodeVersionFinding(of: string, { nodeVersion }: MachineFacts): Finding {
  const [major = 0, minor = 0] = nodeVersion.split(".").map(Number);
  const [majorMin, minorMin] = NODE_MIN;
  const isFine = major > majorMin || (major === majorMin && minor >= minorMin);
  const what = `Node.js ${nodeVersion}`;
  if (isFine) return { check: "node-version", of, level: "ok", what };
  const advice = `install Node.js ${majorMin}.${minorMin} or later`;
  return { check: "node-version", of, level: "problem", what: `${what} is too old`, advice };
}

function syncFinding(of: string, { sync }: MachineFacts): Finding {
  if ("couldNot" in sync) return couldNot("disk-time", of, sync.couldNot);
  const { medianMs, maxMs } = sync.value;
  const what = `a write is safe on disk after ${shown(medianMs)} ms, at most ${shown(maxMs)} ms`;
  if (medianMs < SYNC_MS_SLOW) return { check: "disk-time", of, level: "ok", what };
  const level = medianMs < SYNC_MS_BAD ? "warning" : "problem";
  const advice = "each write of the cluster waits for it: use a local SSD, and look what else writes there";
  return { check: "disk-time", of, level, what, advice };
}

function spaceFinding(of: string, { space }: MachineFacts): Finding {
  if ("couldNot" in space) return couldNot("disk-space", of, space.couldNot);
  const { freeBytes, totalBytes } = space.value;
  const what = `${mebibytes(freeBytes)} of ${mebibytes(totalBytes)} are free where the data is`;
  const isLow = freeBytes < FREE_BYTES_LOW || freeBytes < FREE_PART_LOW * totalBytes;
  if (!isLow) return { check: "disk-space", of, level: "ok", what };
  const level = freeBytes < FREE_BYTES_BAD ? "problem" : "warning";
  return { check: "disk-space", of, level, what, advice: "make room: a node whose disk is full stops" };
}

function descriptorsFinding(of: string, { descriptors }: MachineFacts): Finding {
  if ("couldNot" in descriptors) {
    // No fault of this machine: only Linux says.
    const advice = "look yourself: `ulimit -n` for the user that runs the node";
    return { check: "descriptors", of, level: "warning", what: `could not look: ${descriptors.couldNot}`, advice };
  }
  const { open, limit } = descriptors.value;
  const what = `${open} of ${limit} file descriptors are open`;
  const advice = "raise the limit of open files to 65536: `ulimit -n`, or LimitNOFILE= of its systemd unit";
  if (open > USED_PART_HIGH * limit) return { check: "descriptors", of, level: "problem", what, advice };
  if (limit < DESCRIPTORS_MIN) return { check: "descriptors", of, level: "warning", what, advice };
  return { check: "descriptors", of, level: "ok", what };
}

function storeFinding({ id, store: { liveBytes, quotaBytes } }: SeenNode): Finding {
  const what = `the store weighs ${mebibytes(liveBytes)}, and may weigh ${mebibytes(quotaBytes)}`;
  const advice = "delete what is not needed, or raise it: `aether cluster quota`";
  if (liveBytes >= quotaBytes) {
    return { check: "quota", of: id, level: "problem", what: `nothing new is taken: ${what}`, advice };
  }
  if (liveBytes >= USED_PART_HIGH * quotaBytes) return { check: "quota", of: id, level: "warning", what, advice };
  return { check: "quota", of: id, level: "ok", what };
}

/** Each beside the median of all, which one wrong clock does not move. */
export function clockFindings(nodes: readonly SeenNode[]): readonly Finding[] {
  const sorted = nodes.map(({ clockMs }) => clockMs).sort((a, b) => a - b);
  const middle = sorted[sorted.length >> 1] ?? 0;
  return nodes.map(({ id, clockMs, clockErrorMs }) => {
    const offMs = Math.round(clockMs - middle);
    const what = `its clock is ${offMs} ms off the others', give or take ${Math.ceil(clockErrorMs)} ms`;
    if (Math.abs(offMs) - clockErrorMs <= CLOCK_MS_MAX) return { check: "clock", of: id, level: "ok", what };
    const advice = "set it right with NTP: timers, schedules and times in logs go by clocks";
    return { check: "clock", of: id, level: "problem", what, advice };
  });
}

export function alertFindings(alerts: readonly ShownAlert[]): readonly Finding[] {
  if (alerts.length === 0) return [{ check: "alerts", level: "ok", what: "none fires" }];
  return alerts.map(({ alert, subject, severity, text, action }): Finding => ({
    check: alert, of: subject, level: severity === "error" ? "problem" : "warning", what: text, advice: action,
  }));
}

export function unseenFinding({ id, couldNot: why }: UnseenNode): Finding {
  const advice = "start it or look at its log; if it will not come back: `aether node remove`, or `replace` a voter";
  return { check: "answers", of: id, level: "problem", what: why, advice };
}

export function couldNot(check: string, of: string | undefined, why: string): Finding {
  return { check, ...(of !== undefined && { of }), level: "unknown", what: `could not look: ${why}` };
}

function mebibytes(bytes: number): string {
  return bytes >= GiB ? `${(bytes / GiB).toFixed(1)} GiB` : `${(bytes / MiB).toFixed(1)} MiB`;
}

function shown(ms: number): string {
  return ms.toFixed(ms < 10 ? 1 : 0);
}

// Owns: which alerts there are: what is measured, when that is too much, what it means and what to do. One table drives
// the judging, the settings, the texts and the reference.
// A rule fires when its number has reached the threshold for `forMs`, and is over when it has been below `clearAt` for
// `clearForMs`. Whatever is bad when it is low is measured as what is missing.
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { ClusterSight, NodeSight, OwnSight } from "./sight.ts";

export type AlertSeverity = "warning" | "error";

/** `undefined`: nothing is known of it now, which proves neither the one nor the other. */
export interface Reading {
  readonly subject: string;
  readonly value: number | undefined;
}

export type AlertUnit = "ms" | "part" | "per s" | "";

interface RuleSpec<S> {
  readonly severity: AlertSeverity;
  /** Of the number. */
  readonly unit: AlertUnit;
  readonly threshold: number;
  /** Part of the threshold below which it is over. */
  readonly clearAt: number;
  readonly forMs: number;
  readonly clearForMs: number;
  /** What is measured. */
  readonly measures: string;
  /** For people: {name} is the subject's, {value} and {threshold} the numbers. */
  readonly says: string;
  readonly action: string;
  /** Undefined: nothing is known of anything. What is not there any more is not read. */
  readonly read: (sight: S) => readonly Reading[] | undefined;
}

/** Judged by the leader, for the cluster. */
export interface ClusterRule extends RuleSpec<ClusterSight> {
  readonly by: "leader";
}
/** Judged by each node for itself: nobody else can know, or there is no leader to tell. */
export interface OwnRule extends RuleSpec<OwnSight> {
  readonly by: "node";
}
export type AlertRule = ClusterRule | OwnRule;

/** Failures of instances are counted over so long. */
export const FAILURES_WITHIN_MS = 5 * MINUTE_MS;
/** Calls of a method, and rates, are looked at over so long. */
const MINUTE_WINDOW_MS = MINUTE_MS;
/** A method with fewer calls in that time says nothing by its rate of errors. */
const CALLS_MIN = 10;
/** The longest block of the event loop within so long counts. */
const LOOP_WINDOW_MS = 10 * SECOND_MS;

export const ALERT_RULES = {
  "no-quorum": {
    by: "node", severity: "error", unit: "", threshold: 1, clearAt: 1, forMs: 5 * SECOND_MS, clearForMs: 5 * SECOND_MS,
    measures: "voters that the node misses for a majority",
    says: "{name} takes no writes: voters that it misses for a majority: {value}",
    action: "Start the voters that are down, or mend the network between them; see recovering.md if disks are lost.",
    read: ({ node, quorum: { need, have } }) => [{ subject: `node/${node}`, value: Math.max(0, need - have) }],
  },
  "no-leader": {
    by: "node", severity: "error", unit: "", threshold: 1, clearAt: 1, forMs: 15 * SECOND_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "1 while a majority is there and nobody leads",
    says: "nobody leads, as far as {name} knows: nothing is placed, scaled or judged",
    action: "Look at the disks of the voters and at what else uses them, then at their logs: writes take too long.",
    // Without a majority nobody can: that is said by itself.
    read: ({ node, quorum: { need, have }, knowsLeader }) => [{
      subject: `node/${node}`, value: have < need ? 0 : knowsLeader === undefined ? undefined : Number(!knowsLeader),
    }],
  },
  // By itself: who applies nothing does not learn who leads, and reports to nobody.
  "apply-stalled": {
    by: "node", severity: "error", unit: "ms", threshold: 10 * SECOND_MS, clearAt: 0.1, forMs: 0,
    clearForMs: 2 * SECOND_MS,
    measures: "how long the node has applied nothing although there was something to apply",
    says: "{name} has applied nothing for {value}, although there is something to apply",
    action: "Look at its log and its disk; a restart of the node is safe.",
    read: ({ node, facts }) => [{ subject: `node/${node}`, value: facts?.applyStalledMs }],
  },
  "node-missing": {
    by: "leader", severity: "error", unit: "", threshold: 1, clearAt: 1,
    forMs: 15 * SECOND_MS, clearForMs: 5 * SECOND_MS,
    measures: "1 for a member that is not heard",
    says: "{name} is a member of the cluster and is not heard",
    action: "Look at its machine and its log, and start it; `aether node remove` if it does not come back.",
    read: ({ nodes }) => nodes.map((node) => ({ subject: `node/${node.node}`, value: node.isHere ? 0 : 1 })),
  },
  "node-silent": {
    by: "leader", severity: "warning", unit: "", threshold: 1, clearAt: 1, forMs: 30 * SECOND_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "1 for a node that is heard and reports nothing of itself",
    says: "{name} is heard, and reports nothing of itself: it may not know who leads",
    action: "Ask that node: `aether alerts`, `aether doctor`; look at its log, and whether it may collect metrics.",
    read: ({ nodes }) => nodes.map(({ node, isHere, facts }) =>
      ({ subject: `node/${node}`, value: Number(isHere && facts === undefined) })),
  },
  "node-behind": {
    by: "leader", severity: "warning", unit: "", threshold: 5_000, clearAt: 0.2, forMs: MINUTE_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "slots that are decided and that the node has not applied",
    says: "{name} is {value} slots behind, and its local reads with it",
    action: "Look at its disk, processor and network: `aether doctor`, `aether top`.",
    read: ({ nodes }) => nodes.map(({ node, slotsBehind }) => ({ subject: `node/${node}`, value: slotsBehind })),
  },
  "disk-slow": {
    by: "leader", severity: "warning", unit: "ms", threshold: 200, clearAt: 0.5, forMs: 30 * SECOND_MS,
    clearForMs: 30 * SECOND_MS,
    measures: "how long 99 of 100 durable writes of the node take at most, mean of the last minute",
    says: "durable writes of {name} take up to {value}",
    action: "Look what else writes to its disk; `aether doctor` measures it.",
    read: ({ nodes, over }) => nodes.map(({ node, facts }) => ({
      subject: `node/${node}`,
      value: facts === undefined ? undefined : over(`node/${node}/diskWriteMsP99`, MINUTE_WINDOW_MS, "mean"),
    })),
  },
  "disk-full": {
    by: "leader", severity: "error", unit: "part", threshold: 0.9, clearAt: 0.97, forMs: 10 * SECOND_MS,
    clearForMs: 10 * SECOND_MS,
    measures: "part of the disk of the node's data that is in use",
    says: "{value} of the disk of {name} are in use; a node without room stops",
    action: "Make room on it, or give it a larger disk.",
    read: ofNodes(({ facts: { diskFreeBytes: free, diskTotalBytes: total } = {} }) =>
      free === undefined || total === undefined || total === 0 ? undefined : Math.max(0, 1 - free / total)),
  },
  "store-full": {
    by: "leader", severity: "warning", unit: "part", threshold: 0.8, clearAt: 0.95, forMs: 10 * SECOND_MS,
    clearForMs: 10 * SECOND_MS,
    measures: "part of the store's quota that is in use",
    says: "{value} of the store's quota are in use; a store without room refuses what makes it grow",
    action: "Delete what is not needed, or raise it with `aether cluster quota`.",
    read: ({ facts: { storeLiveBytes: live, storeQuotaBytes: quota } }) =>
      ofCluster(live === undefined || quota === undefined || quota === 0 ? undefined : live / quota),
  },
  "event-loop-stalled": {
    by: "leader", severity: "warning", unit: "ms", threshold: SECOND_MS, clearAt: 0.5, forMs: 15 * SECOND_MS,
    clearForMs: 10 * SECOND_MS,
    measures: "the longest that something waited for the node's event loop in the last 10 s",
    says: "the event loop of {name} stands still again and again, for up to {value}",
    action: "Give the machine more processor, or the node less to do; paused virtual machines look the same.",
    read: ({ nodes, over }) => nodes.map(({ node, facts }) => ({
      subject: `node/${node}`,
      value: facts === undefined ? undefined : over(`node/${node}/loopDelayMsMax`, LOOP_WINDOW_MS, "max"),
    })),
  },
  "slice-crash-loop": {
    by: "leader", severity: "error", unit: "", threshold: 3, clearAt: 0.5, forMs: 0, clearForMs: 0,
    measures: "how often one and the same instance of the slice failed in the last 5 minutes",
    says: "an instance of {name} failed {value} times within 5 minutes",
    action: "`aether slice logs` and `aether events --kind instance.failed` say why; " +
      "`aether blueprint rollback` goes back.",
    read: ({ slices }) => slices?.map(({ slice, failures }) => ({ subject: `slice/${slice}`, value: failures })),
  },
  "slice-below-min": {
    by: "leader", severity: "error", unit: "", threshold: 1, clearAt: 1, forMs: 30 * SECOND_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "instances of the slice that would have to serve (`minAvailable`, at least one) and do not",
    says: "instances of {name} that would have to serve and do not: {value}",
    action: "`aether blueprint status` says which instance does not come up, and why.",
    read: ({ slices }) => slices?.map(({ slice, active, needed }) =>
      ({ subject: `slice/${slice}`, value: Math.max(0, needed - active) })),
  },
  "calls-fail": {
    by: "leader", severity: "warning", unit: "part", threshold: 0.05, clearAt: 0.5, forMs: 30 * SECOND_MS,
    clearForMs: 30 * SECOND_MS,
    measures: "part of the calls of a method that failed, over a minute with at least 10 calls",
    says: "{value} of the calls of {name} fail",
    action: "`aether slice logs` and `aether top`; `aether blueprint rollback` if a new version began it.",
    read: ({ methods, over }) => methods.map(({ slice, method }) => {
      const series = `method/${slice}/${method}/made`;
      const subject = `method/${slice}.${method}`;
      const calls = over(`${series}/callsPerSecond`, MINUTE_WINDOW_MS, "sum") ?? 0;
      if (calls < CALLS_MIN) return { subject, value: 0 };
      return { subject, value: (over(`${series}/errorsPerSecond`, MINUTE_WINDOW_MS, "sum") ?? 0) / calls };
    }),
  },
  "calls-refused": {
    by: "leader", severity: "warning", unit: "per s", threshold: 0.1, clearAt: 0.5, forMs: 20 * SECOND_MS,
    clearForMs: 30 * SECOND_MS,
    measures: "calls that were refused because there was no room for them, mean of the last minute",
    says: "{value} calls are refused because queues are full",
    action: "`aether top` shows which slice has a queue: give it more instances, or rules for scaling.",
    read: ({ over }) => ofCluster(over("cluster/callsRefusedPerSecond", MINUTE_WINDOW_MS, "mean")),
  },
  "job-waits": {
    by: "leader", severity: "warning", unit: "ms", threshold: 5 * MINUTE_MS, clearAt: 0.2, forMs: 0,
    clearForMs: 5 * SECOND_MS,
    measures: "how long the first of the jobs has waited for a node to run it",
    says: "a job has waited {value} for a node to run it",
    action: "Look at `aether job list --status runnable`: are nodes full, or may none of them run it?",
    read: ({ facts }) => ofCluster(facts.oldestRunnableMs),
  },
  "effect-unknown": {
    by: "leader", severity: "warning", unit: "ms", threshold: 10 * MINUTE_MS, clearAt: 0.2, forMs: 0,
    clearForMs: 5 * SECOND_MS,
    measures: "how long the first of the jobs has waited for somebody to say what became of a call",
    says: "a job has waited {value} for somebody to say what became of a call",
    action: "`aether job list --waiting unknown`, then `aether job resolve`.",
    read: ({ facts }) => ofCluster(facts.oldestUnknownMs),
  },
  "approval-waits": {
    by: "leader", severity: "warning", unit: "ms", threshold: HOUR_MS, clearAt: 0.9, forMs: 0,
    clearForMs: 5 * SECOND_MS,
    measures: "how long the first of the jobs has waited for a person's decision",
    says: "a job has waited {value} for a person's decision",
    action: "`aether job list --waiting approval`, then `aether job approve`.",
    read: ({ facts }) => ofCluster(facts.oldestApprovalMs),
  },
  "jobs-stuck": {
    by: "leader", severity: "warning", unit: "", threshold: 1, clearAt: 1, forMs: 30 * SECOND_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "jobs whose code cannot go on",
    says: "jobs that are stuck, because their code cannot go on: {value}",
    action: "`aether job list --waiting stuck`, and `aether job show` says why.",
    read: ({ facts }) => ofCluster(facts.jobsWaitingStuck),
  },
  "clock-off": {
    by: "leader", severity: "warning", unit: "ms", threshold: 2 * SECOND_MS, clearAt: 0.5, forMs: 30 * SECOND_MS,
    clearForMs: 10 * SECOND_MS,
    measures: "how far the node's wall clock is off from what most nodes show",
    says: "the clock of {name} is {value} off",
    action: "Look at its time service (chrony, ntpd, systemd-timesyncd).",
    read: ofNodes(({ facts }) => facts?.clockOffMs),
  },
  "version-differs": {
    by: "leader", severity: "warning", unit: "", threshold: 1, clearAt: 1, forMs: 2 * HOUR_MS,
    clearForMs: 5 * SECOND_MS,
    measures: "versions of clusters that the newest build understands and that of the node does not",
    says: "{name} runs an older build than others: an upgrade is not finished",
    action: "Go on with the upgrade, see upgrading.md: the cluster stays at the older version meanwhile.",
    read: ({ nodes }) => {
      const newest = Math.max(...nodes.map(({ supportedVersion }) => supportedVersion ?? 0));
      return nodes.map(({ node, supportedVersion: own }) =>
        ({ subject: `node/${node}`, value: own === undefined ? undefined : newest - own }));
    },
  },
} as const satisfies Readonly<Record<string, AlertRule>>;

export type AlertName = keyof typeof ALERT_RULES;
export const ALERT_NAMES = Object.keys(ALERT_RULES).filter(isAlertName);

export function isAlertName(name: string): name is AlertName {
  return Object.hasOwn(ALERT_RULES, name);
}

export function alertRule(name: AlertName): AlertRule {
  return ALERT_RULES[name];
}

function ofNodes(valueOf: (node: NodeSight) => number | undefined): ClusterRule["read"] {
  return ({ nodes }) => nodes.map((node) => ({ subject: `node/${node.node}`, value: valueOf(node) }));
}

function ofCluster(value: number | undefined): readonly Reading[] {
  return [{ subject: "cluster", value }];
}

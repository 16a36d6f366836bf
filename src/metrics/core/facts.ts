// Owns: which numbers a node reports of itself every second, what they mean, and how those of several nodes are one.
// One table drives reports, aggregates, series and the reference. Builds read the names that they know: a new fact is a
// new row, and an old build does not see it.

/**
 * `level`: what is so now. `rate`: sources give a total that only grows, the report says how much of it per second.
 */
export type FactKind = "level" | "rate";

/**
 * How the cluster's number comes from those of its nodes. `max` is also for what every node sees alike, such as slots.
 */
export type FactAcross = "sum" | "mean" | "max";

export interface FactSpec {
  readonly kind: FactKind;
  readonly across: FactAcross;
  /** For people. */
  readonly unit: string;
  readonly help: string;
}

export const NODE_FACTS = {
  cpuCores: fact("rate", "mean", "cores", "CPU time of the process, all threads: 1 is one core in full use."),
  loopUtilization: fact("rate", "mean", "0 to 1", "Part of the time that the node's own event loop was busy."),
  loopDelayMsMax: fact("level", "max", "ms", "The longest that something ready to run waited for the event loop."),
  heapUsedBytes: fact("level", "sum", "bytes", "Heap of the node's own thread in use."),
  rssBytes: fact("level", "sum", "bytes", "Memory of the process, all threads."),
  callsPerSecond: fact("rate", "sum", "per s", "Calls made from the node that ended."),
  callErrorsPerSecond: fact("rate", "sum", "per s", "Calls made from the node that ended with an error."),
  instances: fact("level", "sum", "", "Instances of slices that have a worker on the node."),
  callsRefusedPerSecond: fact("rate", "sum", "per s", "Of those, calls for which there was no room."),
  callsInFlight: fact("level", "sum", "", "Calls that run in instances of the node."),
  callsQueued: fact("level", "sum", "", "Calls that wait for a place in an instance of the node."),
  slotsPerSecond: fact("rate", "max", "per s", "Slots of the log applied."),
  unappliedSlots: fact("level", "max", "slots", "Slots that the node knows to be decided and has not applied."),
  applyStalledMs: fact("level", "max", "ms", "How long nothing was applied although there was something to apply."),
  nullSlotsPerSecond: fact("rate", "max", "per s", "Slots that were decided for nothing."),
  latePhasesPerSecond: fact("rate", "max", "per s", "Slots that took more than one phase."),
  batchesPerSecond: fact("rate", "sum", "per s", "Batches of commands that the node has sent."),
  commandsPerSecond: fact("rate", "sum", "per s", "Commands in them; divided by the batches: their size."),
  pendingCommands: fact("level", "sum", "", "Commands accepted on the node and not answered yet."),
  patiencePerSecond: fact("rate", "sum", "per s", "How often the node did what it had waited for others to do."),
  diskWritesPerSecond: fact("rate", "sum", "per s", "Durable writes of the journal."),
  diskWriteMsP50: fact("level", "max", "ms", "How long one took, half of them."),
  diskWriteMsP99: fact("level", "max", "ms", "How long one took, 99 of 100."),
  diskFreeBytes: fact("level", "sum", "bytes", "Room on the disk of the node's data."),
  diskTotalBytes: fact("level", "sum", "bytes", "Size of that disk."),
  storeLiveBytes: fact("level", "max", "bytes", "What the store weighs, for its quota."),
  storeQuotaBytes: fact("level", "max", "bytes", "What it may weigh."),
  clockOffMs: fact("level", "max", "ms", "How far the node's wall clock is off from what most nodes show."),
  jobsRunning: fact("level", "sum", "", "Jobs that the node runs."),
  jobsRunnable: fact("level", "max", "", "Jobs that wait for a node to run them, in the whole cluster."),
  oldestRunnableMs: fact("level", "max", "ms", "How long the first of them has waited."),
  jobsWaitingTimer: waiting("a time"),
  jobsWaitingSignal: waiting("a signal"),
  jobsWaitingApproval: waiting("a person's decision"),
  jobsWaitingRetry: waiting("the next attempt of a step"),
  jobsWaitingChild: waiting("another job"),
  jobsWaitingAdmission: waiting("a place or a rate of a tool"),
  jobsWaitingBudget: waiting("more budget"),
  jobsWaitingUnknown: waiting("somebody to say what became of a call"),
  jobsWaitingStuck: waiting("a person, because their code cannot go on"),
  jobsWaitingRestored: waiting("a person, since a restore"),
  oldestUnknownMs: fact("level", "max", "ms", "How long the first of those with an unknown call has waited."),
  oldestApprovalMs: fact("level", "max", "ms", "How long the first of those that wait for a decision has waited."),
  jobsEndedPerSecond: fact("rate", "sum", "per s", "Jobs of the node that completed, failed or were cancelled."),
  jobsFailedPerSecond: fact("rate", "sum", "per s", "Of those, jobs that failed."),
  stepsPerSecond: fact("rate", "sum", "per s", "Steps of jobs that ended, well or not."),
  toolCallsPerSecond: fact("rate", "sum", "per s", "Calls of tools and models that were begun."),
  toolFailuresPerSecond: fact("rate", "sum", "per s", "Calls of tools and models that failed."),
  toolUnknownsPerSecond: fact("rate", "sum", "per s", "Calls of tools of which it is not known what became."),
} as const satisfies Readonly<Record<string, FactSpec>>;

export type FactName = keyof typeof NODE_FACTS;
export type Facts = Readonly<Partial<Record<FactName, number>>>;

export const FACT_NAMES = Object.keys(NODE_FACTS).filter(isFactName);

export function isFactName(name: string): name is FactName {
  return Object.hasOwn(NODE_FACTS, name);
}

/** Those that somebody knows. */
export function known(facts: Readonly<Partial<Record<FactName, number | undefined>>>): Facts {
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

/** The facts of several nodes as one; what no node says is absent. */
export function combineFacts(nodes: readonly Facts[]): Facts {
  const combined: Partial<Record<FactName, number>> = {};
  for (const name of FACT_NAMES) {
    const values = nodes.flatMap(({ [name]: value }) => (value === undefined ? [] : [value]));
    if (values.length > 0) combined[name] = combine(NODE_FACTS[name].across, values);
  }
  return combined;
}

export function combine(across: FactAcross, values: readonly number[]): number {
  if (across === "max") return values.reduce((most, value) => Math.max(most, value), -Infinity);
  const sum = values.reduce((total, value) => total + value, 0);
  return across === "sum" ? sum : sum / values.length;
}

function waiting(what: string): FactSpec {
  return fact("level", "max", "", `Jobs of the cluster that wait for ${what}.`);
}

function fact(kind: FactKind, across: FactAcross, unit: string, help: string): FactSpec {
  return { kind, across, unit, help };
}

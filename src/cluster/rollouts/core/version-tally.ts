// Owns: how the calls of one version went, counted so that the counts of several nodes can be added up, and their wire
// form. Does not own: who counts (rollouts/call-tallies.ts), what follows from it (canary-verdict.ts).

export interface VersionTally {
  readonly calls: number;
  /** Of those: the handler failed, or nobody answered. */
  readonly errors: number;
  /** Calls by how long they took; `latencyBucketOf` says which is which. */
  readonly buckets: readonly number[];
}

/** The calls of both versions while one row of a rollout stands as it is. */
export interface RolloutTally {
  readonly slice: string;
  /** The modRevision of the row. */
  readonly rollout: number;
  readonly target: VersionTally;
  readonly previous: VersionTally;
}

/** Canaries whose calls are counted at once; the others wait for their first calls until one of these ends. */
export const CANARIES_MAX = 128;
/** Tallies in one message, of which earlier builds read no more. */
export const TALLIES_TOLD_MAX = 16;
/** Bucket `i` ends at 2 ** (i / 2) ms; the last one, from 33 s on, has no end. */
const BUCKETS_MAX = 32;

export const NO_CALLS: VersionTally = { calls: 0, errors: 0, buckets: [] };

export function latencyBucketOf(ms: number): number {
  return ms <= 1 ? 0 : Math.min(BUCKETS_MAX - 1, Math.ceil(2 * Math.log2(ms)));
}

export function addCall(tally: VersionTally, outcome: "ok" | "failed", ms: number): VersionTally {
  const buckets = [...tally.buckets];
  const at = latencyBucketOf(ms);
  for (let index = buckets.length; index <= at; index++) buckets.push(0);
  buckets[at] = (buckets[at] ?? 0) + 1;
  return { calls: tally.calls + 1, errors: tally.errors + (outcome === "failed" ? 1 : 0), buckets };
}

export function addTallies(a: VersionTally, b: VersionTally): VersionTally {
  const buckets = Array.from({ length: Math.max(a.buckets.length, b.buckets.length) }, (_, index) =>
    (a.buckets[index] ?? 0) + (b.buckets[index] ?? 0));
  return { calls: a.calls + b.calls, errors: a.errors + b.errors, buckets };
}

export interface LatencyRange {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Between which milliseconds the 99th of 100 calls lies; undefined without calls. */
export function latencyP99Of({ buckets }: VersionTally): LatencyRange | undefined {
  const total = buckets.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  let seen = 0;
  const at = buckets.findIndex((count) => (seen += count) >= total * 0.99);
  return { fromMs: at === 0 ? 0 : 2 ** ((at - 1) / 2), toMs: at === BUCKETS_MAX - 1 ? Infinity : 2 ** (at / 2) };
}

export function encodeTallies(tallies: readonly RolloutTally[]): readonly unknown[] {
  const wireOf = ({ calls, errors, buckets }: VersionTally): readonly unknown[] => [calls, errors, buckets];
  return tallies.map(({ slice, rollout, target, previous }) => [slice, rollout, wireOf(target), wireOf(previous)]);
}

/** Takes what is well-formed of a message of a peer, and no more than one tells. */
export function parseTallies(wire: unknown): readonly RolloutTally[] {
  return Array.isArray(wire) ? wire.slice(0, TALLIES_TOLD_MAX).flatMap((one) => parseTally(one) ?? []) : [];
}

function parseTally(wire: unknown): RolloutTally | undefined {
  if (!Array.isArray(wire)) return undefined;
  const [slice, rollout, ...versions] = wire as readonly unknown[];
  const [target, previous] = versions.map(parseVersion);
  if (typeof slice !== "string" || !isCount(rollout)) return undefined;
  return target === undefined || previous === undefined ? undefined : { slice, rollout, target, previous };
}

function parseVersion(wire: unknown): VersionTally | undefined {
  if (!Array.isArray(wire)) return undefined;
  const [calls, errors, buckets] = wire as readonly unknown[];
  if (!isCount(calls) || !isCount(errors) || !Array.isArray(buckets) || buckets.length > BUCKETS_MAX) return undefined;
  return buckets.every(isCount) ? { calls, errors, buckets } : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

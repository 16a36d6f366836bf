// Owns: what a chaos run tells people: plain text, and latency over time as a picture with the faults in it.
import type { History, Sample } from "./history.ts";
import type { FaultRecord } from "./nemesis.ts";
import type { Verdict } from "./verdict.ts";

export interface ChaosResult {
  readonly seed: number;
  readonly network: string;
  readonly durationMs: number;
  readonly history: History;
  readonly faults: readonly FaultRecord[];
  /** The longest time in which the clients' own process did nothing: no gap that is shorter says anything. */
  readonly standstillMs: number;
  /** What was not done, and why. */
  readonly skipped: readonly string[];
  /** Of the run itself, the verdict's included. */
  readonly violations: readonly string[];
  readonly verdict: Verdict | undefined;
  /** By node. */
  readonly logs: ReadonlyMap<string, readonly string[]>;
}

const GAPS_SHOWN = 5;
const CODES_SHOWN = 12;
const SPARE_MS = 500;

export function renderReport(result: ChaosResult): string {
  const { seed, network, durationMs, history, faults, skipped, violations, verdict } = result;
  const lines = [
    `chaos: seed ${seed}, ${(durationMs / 1_000).toFixed(0)} s, ${network}`,
    "",
    `faults (${faults.length}); a gap is a time without any acknowledged operation`,
    ...faults.map((fault) => describeFault(fault, history)),
    "",
    "operations by outcome",
    ...(["read", "write"] as const).map((kind) => describeOutcomes(kind, history.samples)),
    ...describeCodes(history.samples),
    "",
    "longest gaps",
    ...longestGaps(history).map((gap) => `  ${gap.gapMs.toFixed(0).padStart(6)} ms from ${clock(gap.atMs, history)}`),
    `  the clients' own process stood still for ${result.standstillMs.toFixed(0)} ms at most`,
    "",
    "not done",
    ...(skipped.length === 0 ? ["  nothing was left out"] : skipped.map((line) => `  ${line}`)),
    "",
    ...describeVerdict(verdict),
    violations.length === 0 ? "no violation" : `VIOLATIONS (${violations.length})`,
    ...violations.map((line) => `  ${line}`),
  ];
  return `${lines.join("\n")}\n`;
}

export function describeFault(fault: FaultRecord, history: History): string {
  const { text, fromMs, untilMs, wholeMs } = fault;
  const gapMs = history.longestGapMs(fromMs, wholeMs + SPARE_MS);
  const span = `${clock(fromMs, history)} for ${((untilMs - fromMs) / 1_000).toFixed(1)} s`;
  return `  ${span}: ${text}; gap ${gapMs.toFixed(0)} ms, all ready ${(wholeMs - untilMs).toFixed(0)} ms after its end`;
}

function describeOutcomes(kind: Sample["kind"], samples: readonly Sample[]): string {
  const own = samples.filter((sample) => sample.kind === kind);
  const count = (outcome: Sample["outcome"]): number => own.filter((sample) => sample.outcome === outcome).length;
  return `  ${kind}s: ${count("ok")} ok, ${count("failed")} not applied, ${count("unknown")} unknown`;
}

function describeCodes(samples: readonly Sample[]): readonly string[] {
  const codes = new Map<string, number>();
  for (const { code, outcome } of samples) {
    if (code !== undefined) codes.set(`${code} (${outcome})`, (codes.get(`${code} (${outcome})`) ?? 0) + 1);
  }
  const most = [...codes].sort((a, b) => b[1] - a[1]).slice(0, CODES_SHOWN);
  return most.map(([code, count]) => `    ${code}: ${count}`);
}

function describeVerdict(verdict: Verdict | undefined): readonly string[] {
  if (verdict === undefined) return ["the run did not come to an end that could be judged"];
  const { registers, lists, ledgerKeys, inconclusive, entriesPerNode } = verdict;
  return [
    `judged: ${registers} registers, ${lists} lists, ${ledgerKeys} keys written once`,
    `compared: ${entriesPerNode} entries on each node`,
    ...(inconclusive === 0 ? [] : [`not decided: ${inconclusive} registers, whose search would take too long`]),
  ];
}

function longestGaps(history: History): readonly { readonly atMs: number; readonly gapMs: number }[] {
  const times = history.samples
    .filter(({ outcome }) => outcome === "ok")
    .map(({ endedMs }) => endedMs)
    .sort((a, b) => a - b);
  return times
    .map((time, index) => ({ atMs: times[index - 1] ?? time, gapMs: time - (times[index - 1] ?? time) }))
    .sort((a, b) => b.gapMs - a.gapMs)
    .slice(0, GAPS_SHOWN);
}

function clock(atMs: number, history: History): string {
  return `${((atMs - history.startedMs) / 1_000).toFixed(1).padStart(6)} s`;
}

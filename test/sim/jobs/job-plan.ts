// Owns: what one run of jobs does: programs, what clients tell their jobs, and faults; drawn from the seed.
import { SeededRandom, type Random } from "../../../src/base/random.ts";
import { MODES, TOOL_NAMES, type Act, type Mode, type Program } from "./player.ts";

export interface JobPlan {
  readonly seed: number;
  readonly jobs: readonly PlannedJob[];
  readonly faults: readonly JobFaultPlan[];
}

export interface PlannedJob {
  readonly id: string;
  readonly program: Program;
  readonly startMs: number;
  /** What it is told; enough for every wait of its program. */
  readonly signals: readonly PlannedSignal[];
  readonly cancelMs: number | undefined;
}

export interface PlannedSignal {
  readonly atMs: number;
  /** Sent as soon as the job is about to wait, if that is earlier. */
  readonly atWait: boolean;
  /** Sent twice, under one key. */
  readonly isTwice: boolean;
}

/** A fault at a time, or right before or after a transaction that an owner makes for a job, by its number. */
export type JobFaultPlan =
  | { readonly at: "time"; readonly atMs: number; readonly fault: Fault; readonly forMs: number; readonly node: number }
  | {
    readonly at: "before" | "after";
    /** Which transactions are counted: all of owners, or those that grant calls of tools. */
    readonly of: "all" | "grants";
    readonly moment: number;
    readonly fault: "crash" | "crash all" | "pause";
    readonly forMs: number;
  };

export const FAULTS = ["crash", "crash all", "pause", "cut off", "stop"] as const;
export type Fault = (typeof FAULTS)[number];

const JOBS = 4;
/** Clients begin within it. */
const SPAN_MS = 4_000;
const DEPTH_MAX = 2;
const ACTS_MAX = 4;
const MOMENT_MAX = 60;
const GRANTS_MAX = 10;

export function drawPlan(seed: number): JobPlan {
  const random = new SeededRandom(seed).fork("job plan");
  const jobs = Array.from({ length: JOBS }, (_, index) => drawJob(random.fork(`job ${index}`), `p${seed}-${index}`));
  const faults = Array.from({ length: 1 + random.below(3) }, (_, index) => drawFault(random.fork(`fault ${index}`)));
  return { seed, jobs, faults };
}

function drawJob(random: Random, id: string): PlannedJob {
  const labels = { next: 0 };
  const program = drawProgram(random, labels, 0);
  const waits = countWaits(program);
  return {
    id,
    program,
    startMs: random.next() * SPAN_MS / 2,
    signals: drawSignals(random, waits + random.below(2)),
    cancelMs: random.below(5) === 0 ? random.next() * SPAN_MS : undefined,
  };
}

function drawProgram(random: Random, labels: { next: number }, depth: number): Program {
  return Array.from({ length: 1 + random.below(depth === 0 ? ACTS_MAX + 2 : ACTS_MAX - 1) }, () =>
    drawAct(random, labels, depth));
}

function drawAct(random: Random, labels: { next: number }, depth: number): Act {
  labels.next += 1;
  const label = `x${labels.next}`;
  const kind = random.below(depth < DEPTH_MAX ? 12 : 10);
  if (kind < 3) return { act: "step", label, isRead: random.below(2) === 0 };
  if (kind < 8) return { act: "tool", label, tool: pick(random, TOOL_NAMES), mode: drawMode(random) };
  if (kind === 8) return { act: "sleep", label, ms: random.below(2) === 0 ? random.below(800) : 5_500 };
  if (kind === 9) {
    return { act: "wait", label, timeoutMs: random.below(2) === 0 ? undefined : 500 + random.below(7_000) };
  }
  const branches = Array.from({ length: 2 + random.below(2) }, () => drawProgram(random, labels, depth + 1));
  return { act: "all", branches };
}

function drawMode(random: Random): Mode {
  return random.below(2) === 0 ? "well" : pick(random, MODES);
}

function drawFault(random: Random): JobFaultPlan {
  const forMs = 200 + random.next() * 6_000;
  if (random.below(3) === 0) {
    const fault = pick(random, FAULTS);
    return { at: "time", atMs: 500 + random.next() * SPAN_MS, fault, forMs, node: random.below(3) };
  }
  const fault = pick(random, ["crash", "crash", "crash all", "pause", "pause"] as const);
  const at = random.below(2) === 0 ? "before" : "after";
  if (random.below(2) === 0) return { at, of: "all", moment: 1 + random.below(MOMENT_MAX), fault, forMs };
  const moment = 1 + random.below(GRANTS_MAX);
  // Until others have gone on with the job.
  if (fault === "pause") return { at: "after", of: "grants", moment, fault, forMs: 3_000 + random.next() * 5_000 };
  return { at, of: "grants", moment, fault, forMs };
}

/** Often two at once: they come in through different nodes. */
function drawSignals(random: Random, count: number): readonly PlannedSignal[] {
  const signals: PlannedSignal[] = [];
  for (let index = 0; index < count; index += 1) {
    const last = signals.at(-1);
    const atMs = last === undefined || random.below(2) === 0 ? random.next() * SPAN_MS : last.atMs;
    signals.push({ atMs, atWait: random.below(2) === 0, isTwice: random.below(3) === 0 });
  }
  return signals;
}

function countWaits(program: Program): number {
  return program.reduce((sum, act) => sum + (act.act === "wait" ? 1 : 0) +
    (act.act === "all" ? act.branches.reduce((inner, branch) => inner + countWaits(branch), 0) : 0), 0);
}

function pick<T>(random: Random, values: readonly [T, ...T[]]): T {
  return values[random.below(values.length)] ?? values[0];
}

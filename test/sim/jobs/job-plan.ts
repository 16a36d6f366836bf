// Owns: what one run of jobs does: programs, what clients tell their jobs, and faults; drawn from the seed.
import { SeededRandom, type Random } from "../../../src/base/random.ts";
import type { Budget } from "../../../src/sdk/index.ts";
import { MODES, TOOL_NAMES, type Act, type Mode, type Program } from "./player.ts";

export interface JobPlan {
  readonly seed: number;
  readonly jobs: readonly PlannedJob[];
  readonly faults: readonly JobFaultPlan[];
  /** What is done to all jobs of a group at once. */
  readonly bulk?: PlannedBulk | undefined;
  /** What starts jobs by itself, each minute. */
  readonly schedule?: PlannedSchedule | undefined;
  /** When its cluster begins anew, on empty disks, from a backup. */
  readonly restore?: PlannedRestore;
}

export interface PlannedRestore {
  readonly backupMs: number;
  /** How long the old cluster goes on after that. */
  readonly lostMs: number;
  /** Of the old cluster, until its end. */
  readonly faults: readonly JobFaultPlan[];
}

export interface PlannedSchedule {
  /** Of each of its jobs. */
  readonly programs: readonly Program[];
  /** When it has become another one. */
  readonly otherPrograms: readonly Program[];
  readonly overlap: "skip" | "allow";
  /** When a minute passes at once. */
  readonly minutesMs: readonly number[];
  readonly change?: { readonly atMs: number; readonly to: "other" | "none" } | undefined;
}

/** Every other job is of each group. */
export interface PlannedBulk {
  readonly kind: "cancel" | "signal";
  readonly group: Group;
  readonly atMs: number;
}

export const GROUPS = ["even", "odd"] as const;
export type Group = (typeof GROUPS)[number];

export interface PlannedJob {
  readonly id: string;
  /** One for each of its runs. */
  readonly programs: readonly Program[];
  readonly startMs: number;
  /** What it is told; enough for every wait of its programs. */
  readonly signals: readonly PlannedSignal[];
  readonly cancelMs?: number | undefined;
  readonly budget?: Budget | undefined;
  readonly maxDurationMs?: number | undefined;
  /** When it is moved to the other version. */
  readonly moveMs?: number | undefined;
  /** Whether its input and its output are stored apart from its rows. */
  readonly isLarge?: boolean;
  readonly group?: Group;
  /** How it is done again once it has ended, and the job that does so when that has. */
  readonly repeats?: readonly PlannedRepeat[];
}

export interface PlannedRepeat {
  /** A fork begins at one of its calls: where in their order, from 0 to 1. */
  readonly kind: "retry" | "fork";
  readonly place: number;
  /** Also if it makes calls again that may have happened. */
  readonly isAgain: boolean;
  /** Asked for twice at once, under two ids: it comes about once. */
  readonly isTwice: boolean;
}

export interface PlannedSignal {
  readonly atMs: number;
  /** Sent as soon as the job is about to wait, if that is earlier. */
  readonly atWait: boolean;
  /** Sent twice, under one key. */
  readonly isTwice: boolean;
}

/** A fault at a time, or right before or after a transaction for a job, by its number. */
export type JobFaultPlan =
  | { readonly at: "time"; readonly atMs: number; readonly fault: Fault; readonly forMs: number; readonly node: number }
  | {
    readonly at: "before" | "after";
    /** Which transactions are counted: all of owners, grants of calls, of families, of ticks. */
    readonly of: (typeof MOMENTS)[number];
    readonly moment: number;
    readonly fault: Extract<Fault, "crash" | "crash all" | "pause" | "cut all">;
    readonly forMs: number;
  };

export const MOMENTS = ["all", "grants", "families", "ticks"] as const;
export const FAULTS = [
  "crash", "crash all", "pause", "cut off", "stop", "stop all", "deaf", "mute", "lossy links", "slow links",
  "clock ahead", "clock behind", "all clocks ahead",
] as const;
/** `cut all`: no node hears another one. */
export type Fault = (typeof FAULTS)[number] | "cut all";

const JOBS = 4;
/** Clients begin within it. */
const SPAN_MS = 4_000;
/** About as long as it takes to give a backup. */
const BACKUP_MS = 20;
const DEPTH_MAX = 2;
const ACTS_MAX = 4;
const MOMENT_MAX = 60;
const GRANTS_MAX = 10;
const FAMILIES_MAX = 5;
/** A tick is three of them: it has come, its job, how it ended. */
const TICKS_MAX = 7;

export function drawPlan(seed: number): JobPlan {
  const random = new SeededRandom(seed).fork("job plan");
  const jobs = Array.from({ length: JOBS }, (_, index) => ({
    ...drawJob(random.fork(`job ${index}`), `p${seed}-${index}`), group: GROUPS[index % GROUPS.length] ?? "even",
  }));
  const faults = Array.from({ length: 1 + random.below(3) }, (_, index) => drawFault(random.fork(`fault ${index}`)));
  const schedule = drawSchedule(random.fork("clockwork"));
  const ofTicks = schedule === undefined ? [] : [drawTickFault(random.fork("tick fault"))];
  return { seed, jobs, faults: [...faults, ...ofTicks], bulk: drawBulk(random.fork("bulk")), schedule };
}

/** Longer than a minute that passes at once: the next tick finds its job alive. */
const LONG: Act = { act: "tool", label: "x0", tool: "once", mode: "loses the answer" };
/** Between minutes; the leader looks every second. */
const MINUTE_PAUSE_MS = 1_300;

/** In one plan of four. */
function drawSchedule(random: Random): PlannedSchedule | undefined {
  if (random.below(4) > 0) return undefined;
  const [fromMs, minutes] = [random.next() * SPAN_MS, 2 + random.below(2)];
  const programsOf = (): readonly Program[] => {
    const programs = new Drawn(random).programsOfChild();
    return random.below(3) === 0 ? programs : [[LONG], ...programs];
  };
  const isChanged = random.below(2) === 0;
  return {
    programs: programsOf(),
    otherPrograms: programsOf(),
    overlap: pick(random, ["skip", "skip", "allow"] as const),
    minutesMs: Array.from({ length: minutes }, (_, index) => fromMs + index * MINUTE_PAUSE_MS),
    change: isChanged
      ? { atMs: random.next() * SPAN_MS, to: pick(random, ["other", "other", "none"] as const) }
      : undefined,
  };
}

function drawTickFault(random: Random): JobFaultPlan {
  const at = random.below(3) === 0 ? "before" : "after";
  const fault = pick(random, ["crash", "crash", "crash all", "pause"] as const);
  return { at, of: "ticks", moment: 1 + random.below(TICKS_MAX), fault, forMs: 200 + random.next() * 5_000 };
}

function drawBulk(random: Random): PlannedBulk | undefined {
  if (random.below(4) > 0) return undefined;
  const kind = pick(random, ["cancel", "signal", "signal"] as const);
  return { kind, group: pick(random, GROUPS), atMs: SPAN_MS * random.next() };
}

/** The same jobs as without it, nothing done to them that another plan does, and faults of both clusters. */
export function drawRestorePlan(seed: number): JobPlan {
  const { jobs } = drawPlan(seed);
  const random = new SeededRandom(seed).fork("restore");
  const only = ({ id, programs, startMs, signals, budget }: PlannedJob): PlannedJob =>
    ({ id, programs, startMs, signals, budget });
  const [backupMs, lostMs] = [SPAN_MS / 2 + random.next() * SPAN_MS, random.next() * SPAN_MS];
  const restore = { backupMs, lostMs, faults: drawOldFaults(random.fork("old faults"), backupMs) };
  const count = random.fork("faults").below(3);
  const faults = Array.from({ length: count }, (_, index) => drawFault(random.fork(`fault ${index}`)));
  return { seed, jobs: jobs.map(only), faults, restore };
}

/** In every other plan one of them comes while the backup is taken, most often to the node that is asked for it. */
function drawOldFaults(random: Random, backupMs: number): readonly JobFaultPlan[] {
  const faults = Array.from({ length: random.below(2) }, (_, index) => drawFault(random.fork(`fault ${index}`)));
  if (random.below(2) === 0) return faults;
  const fault = pick(random, ["crash", "crash", "crash all", "pause", "cut off", "deaf"] as const);
  const [atMs, forMs] = [backupMs + random.next() * BACKUP_MS, 200 + random.next() * SPAN_MS];
  return [...faults, { at: "time", atMs, fault, forMs, node: Math.max(0, random.below(4) - 1) }];
}

function drawJob(random: Random, id: string): PlannedJob {
  const drawn = new Drawn(random);
  const runs = random.below(4) === 0 ? 2 + random.below(2) : 1;
  const programs = drawn.programs(runs, 0);
  return {
    id,
    programs,
    startMs: random.next() * SPAN_MS / 2,
    signals: drawSignals(random, drawn.waits + random.below(2)),
    cancelMs: random.below(5) === 0 ? random.next() * SPAN_MS : undefined,
    budget: random.below(3) === 0 ? drawBudget(random) : undefined,
    maxDurationMs: random.below(12) === 0 ? 2_000 + random.below(2 * SPAN_MS) : undefined,
    moveMs: random.below(4) === 0 ? random.next() * 2 * SPAN_MS : undefined,
    isLarge: random.fork("size").below(8) === 0,
    repeats: drawRepeats(random.fork("repeats")),
  };
}

/** Of one in five. */
function drawRepeats(random: Random): readonly PlannedRepeat[] {
  const count = random.below(5) === 0 ? 1 + random.below(2) : 0;
  return Array.from({ length: count }, () => ({
    kind: random.below(2) === 0 ? "retry" : "fork", place: random.next(), isAgain: random.below(3) === 0,
    isTwice: random.below(2) === 0,
  }));
}

/** The programs of one job, in which each call has a label of its own. */
class Drawn {
  /** For signals that come to the job itself. */
  waits = 0;
  private readonly random: Random;
  private last = 0;
  private depthOfChild = 0;

  constructor(random: Random) {
    this.random = random;
  }

  /** Now and then what is left of it is to fail. */
  programs(runs: number, depth: number): readonly Program[] {
    const programs = Array.from({ length: runs }, () => this.program(depth));
    const last = programs.at(-1) ?? [];
    return this.random.below(6) === 0 ? [...programs.slice(0, -1), [...last, { act: "fail" }]] : programs;
  }

  /** Of a job that nobody tells anything. */
  programsOfChild(): readonly Program[] {
    this.depthOfChild += 1;
    const programs = this.programs(1, 1);
    this.depthOfChild -= 1;
    return programs;
  }

  private program(depth: number): Program {
    const most = depth === 0 ? ACTS_MAX + 2 : ACTS_MAX - 1;
    return Array.from({ length: 1 + this.random.below(most) }, () => this.act(depth));
  }

  private act(depth: number): Act {
    const { random } = this;
    this.last += 1;
    const label = `x${this.last}`;
    const kind = random.below(depth < DEPTH_MAX ? 20 : 15);
    if (kind < 3) return this.step(label);
    if (kind < 8) return { act: "tool", label, tool: pick(random, TOOL_NAMES), mode: drawMode(random) };
    if (kind === 8) return { act: "sleep", label, ms: random.below(2) === 0 ? random.below(800) : 5_500 };
    if (kind < 12) return this.wait(label);
    if (kind === 12) return { act: "model", label, isBusy: random.below(2) === 0 };
    if (kind === 13) return { act: "now" };
    if (kind === 14) return { act: "approve", label, timeoutMs: this.timeout() };
    if (kind < 17) return this.child(label, depth);
    const branches = Array.from({ length: 2 + random.below(2) }, () => this.program(depth + 1));
    return { act: "all", branches };
  }

  private step(label: string): Act {
    const isRead = this.random.below(2) === 0;
    return { act: "step", label, isRead, ...(this.random.below(12) === 0 && { isLarge: true as const }) };
  }

  /** Nobody tells a child anything. */
  private wait(label: string): Act {
    const timeoutMs = this.timeout();
    if (this.depthOfChild > 0) return { act: "wait", label, timeoutMs: timeoutMs ?? 500 };
    this.waits += 1;
    return { act: "wait", label, timeoutMs };
  }

  private child(label: string, depth: number): Act {
    const { random } = this;
    this.depthOfChild += 1;
    const runs = random.below(4) === 0 ? 2 : 1;
    const programs = this.programs(runs, depth + 1);
    this.depthOfChild -= 1;
    const isDetached = random.below(3) === 0;
    return {
      act: "child", label, programs, isDetached,
      timeoutMs: isDetached || random.below(4) > 0 ? undefined : 500 + random.below(5_000),
      budget: isDetached || random.below(3) === 0 ? drawBudget(random) : undefined,
    };
  }

  private timeout(): number | undefined {
    return this.random.below(2) === 0 ? undefined : 500 + this.random.below(7_000);
  }
}

/** Enough for some calls. */
function drawBudget(random: Random): Budget {
  const usd = 0.2 + random.below(10) / 10;
  const steps = random.below(2) === 0 ? { steps: 1 + random.below(3) } : {};
  return { usd, ...steps, ...(random.below(2) === 0 && { tokens: 600 }) };
}

function drawMode(random: Random): Mode {
  return random.below(3) === 0 ? "well" : pick(random, MODES);
}

function drawFault(random: Random): JobFaultPlan {
  const forMs = 200 + random.next() * 6_000;
  if (random.below(5) < 2) {
    const fault = pick(random, FAULTS);
    return { at: "time", atMs: 500 + random.next() * SPAN_MS, fault, forMs, node: random.below(3) };
  }
  const fault = pick(random, ["crash", "crash", "crash all", "pause", "pause"] as const);
  const at = random.below(2) === 0 ? "before" : "after";
  const of = pick(random, ["all", "all", "grants", "families"] as const);
  if (of === "all") return { at, of, moment: 1 + random.below(MOMENT_MAX), fault, forMs };
  if (of === "families") return { at, of, moment: 1 + random.below(FAMILIES_MAX), fault, forMs };
  const moment = 1 + random.below(GRANTS_MAX);
  // Until others have gone on with the job.
  if (fault === "pause") return { at: "after", of, moment, fault, forMs: 3_000 + random.next() * 5_000 };
  return { at, of, moment, fault, forMs };
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

function pick<T>(random: Random, values: readonly [T, ...T[]]): T {
  return values[random.below(values.length)] ?? values[0];
}

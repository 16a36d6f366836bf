// Owns: `npm run soak -- --minutes N [--seed FIRST] [--workers N]`: random runs for as long as asked, on seeds that no
// test has, in several processes; prints how much was simulated, done wrong, checked and violated.
import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { readOptions } from "../support/read-options.ts";
import { drawPlan, drawRestorePlan } from "./jobs/job-plan.ts";
import { runJobs } from "./jobs/job-run.ts";
import { replayCommand } from "./replay-command.ts";
import { runSeed } from "./search.ts";

/** Far from the seeds of the tests. */
const FIRST_SEED = 1_000_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const REPORT_EVERY = 50;
const WORKERS_MAX = 64;
/** A run of jobs takes longer than others. */
const JOBS_EVERY = 4;
/** Of those. */
const RESTORE_EVERY = 5;

const USAGE = `usage: npm run soak -- [options]
  --minutes N      how long (10)
  --seed FIRST     the first seed (${FIRST_SEED}); go on later at this plus how many were run
  --workers N      processes, 1 to ${WORKERS_MAX} (as many as there are processors)`;

interface Tally {
  seeds: number;
  virtualMs: number;
  faults: number;
  crashes: number;
  operations: number;
  events: number;
  slots: number;
}

type Report =
  | { readonly kind: "tally"; readonly tally: Tally }
  | { readonly kind: "violation"; readonly seed: number; readonly check: string; readonly message: string };

interface Share {
  readonly first: number;
  readonly stride: number;
  readonly untilMs: number;
}

async function main(): Promise<number> {
  const values = readOptions(USAGE, {
    minutes: { type: "string" },
    seed: { type: "string" },
    workers: { type: "string" },
    /** For the workers themselves. */
    share: { type: "string" },
  });
  if (values.share !== undefined) {
    await work(JSON.parse(values.share) as Share);
    return 0;
  }
  const minutes = Number(values.minutes ?? 10);
  const workers = Number(values.workers ?? availableParallelism());
  const seed = Number(values.seed ?? FIRST_SEED);
  const isUsable = minutes > 0 && Number.isSafeInteger(seed) && workers >= 1 && workers <= WORKERS_MAX;
  if (!isUsable) {
    console.error(USAGE);
    return 2;
  }
  return supervise({ minutes, workers, seed });
}

/** Starts the workers, adds up what they report, and prints it. */
async function supervise(options: {
  readonly minutes: number;
  readonly workers: number;
  readonly seed: number;
}): Promise<number> {
  const startedMs = performance.now();
  const untilMs = Date.now() + options.minutes * MINUTE_MS;
  const total = emptyTally();
  let violations = 0;
  const onReport = (report: Report): void => {
    if (report.kind === "tally") {
      add(total, report.tally);
      return;
    }
    violations += 1;
    console.log(`VIOLATION of ${report.check} at seed ${report.seed}: ${report.message}`);
    console.log(`replay: ${replayCommand(report.seed)}`);
  };
  const shares = Array.from({ length: options.workers }, (_, index): Share => {
    return { first: options.seed + index, stride: options.workers, untilMs };
  });
  const codes = await Promise.all(shares.map((share) => startWorker(share, onReport)));
  const failed = codes.filter((code) => code !== 0).length;
  console.log(describe(total, violations, performance.now() - startedMs));
  if (failed > 0) console.log(`${failed} workers ended early`);
  return violations === 0 && failed === 0 ? 0 : 1;
}

function startWorker(share: Share, onReport: (report: Report) => void): Promise<number | null> {
  const { execArgv } = process;
  const child = fork(fileURLToPath(import.meta.url), ["--share", JSON.stringify(share)], { execArgv });
  child.on("message", (message) => onReport(message as Report));
  return new Promise((resolve) => child.on("exit", resolve));
}

async function work({ first, stride, untilMs }: Share): Promise<void> {
  let tally = emptyTally();
  let count = 0;
  for (let seed = first; Date.now() < untilMs; seed += stride) {
    const { violation, stats } = await runSeed(seed);
    if (violation !== undefined) send({ kind: "violation", seed, ...violation });
    if (++count % JOBS_EVERY === 0) await runOneOfJobs(seed);
    add(tally, {
      seeds: 1,
      virtualMs: stats.virtualMs,
      faults: stats.faults,
      crashes: stats.crashes,
      operations: stats.commands,
      events: stats.events,
      slots: stats.slotsDecided,
    });
    if (tally.seeds < REPORT_EVERY) continue;
    send({ kind: "tally", tally });
    tally = emptyTally();
  }
  send({ kind: "tally", tally });
}

/** Its replay is another command's. */
async function runOneOfJobs(seed: number): Promise<void> {
  const isRestore = Math.floor(seed / JOBS_EVERY) % RESTORE_EVERY === 0;
  const { violation } = await runJobs(isRestore ? drawRestorePlan(seed) : drawPlan(seed));
  if (violation === undefined) return;
  const message = `${violation.message} (npm run sim:jobs -- ${isRestore ? "--restore " : ""}--seed ${seed})`;
  send({ kind: "violation", seed, check: violation.check, message });
}

function send(report: Report): void {
  process.send?.(report);
}

function emptyTally(): Tally {
  return { seeds: 0, virtualMs: 0, faults: 0, crashes: 0, operations: 0, events: 0, slots: 0 };
}

function add(total: Tally, more: Tally): void {
  for (const name of Object.keys(total) as (keyof Tally)[]) total[name] += more[name];
}

function describe(tally: Tally, violations: number, elapsedMs: number): string {
  const hours = (tally.virtualMs / HOUR_MS).toFixed(1);
  return [
    `${tally.seeds} seeds in ${(elapsedMs / MINUTE_MS).toFixed(1)} minutes: ${hours} simulated hours, ` +
      `${tally.events} events`,
    `${tally.faults} faults, ${tally.crashes} crashes`,
    `${tally.operations} operations checked, ${tally.slots} slots decided`,
    `${violations} violations`,
  ].join("\n");
}

process.exitCode = await main();

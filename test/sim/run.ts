// Owns: running seeds by hand: `npm run sim -- --seed N [--seeds COUNT] [--nodes N] [--workload NAME] [--planted FAULT]
// [--trace]`, and plans: `npm run sim -- --replay FILE|JSON`. Prints what the seeds covered; on a violation what was
// found, the last events, and the smallest plan found that shows it, as a file to replay.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../../src/base/assert.ts";
import { decodeMessages } from "../../src/consensus/core/message-codec.ts";
import { batchKeyOf, choiceKeyOf, type Message } from "../../src/consensus/core/message.ts";
import { formatTraceLine, type TraceLine } from "../../src/testkit/sim/trace.ts";
import { readOptions } from "../support/read-options.ts";
import type { PlanOverrides } from "./plan/plan-arbitrary.ts";
import { parsePlan, type RunPlan } from "./plan/run-plan.ts";
import { ALL_PLANTED } from "./planted.ts";
import { replayCommand } from "./replay-command.ts";
import { runPlan, type RunOptions, type RunResult } from "./run-plan.ts";
import { runSeed, SHRINK_RUNS_MAX, shrinkSeed } from "./search.ts";
import { formatTotals, sumUp } from "./totals.ts";
import { WORKLOADS } from "./workloads/actions.ts";

const USAGE = `usage: npm run sim -- [options]
  --seed N          first seed (1)
  --seeds COUNT     how many seeds from there (1)
  --nodes N         number of nodes, 1 to 7, instead of what the seed draws
  --workload NAME   ${WORKLOADS.join(", ")}
  --planted FAULT   ${ALL_PLANTED.join(", ")}
  --trace           print every event
  --shrink RUNS     how many runs may be spent on shrinking a failure (${SHRINK_RUNS_MAX}, 0: none)
  --replay PLAN     run the plan in this file, or this JSON, instead of drawing one`;

interface Arguments {
  readonly seed: number;
  readonly count: number;
  readonly overrides: PlanOverrides;
  readonly options: RunOptions;
  readonly shrinkRuns: number;
  readonly replay: RunPlan | undefined;
}

async function main(): Promise<number> {
  const parsed = readArguments();
  if (typeof parsed === "string") {
    console.error(`${parsed}\n${USAGE}`);
    return 2;
  }
  const results = parsed.replay === undefined ? await runSeeds(parsed) : [await runPlan(parsed.replay, parsed.options)];
  const last = present(results.at(-1), "at least one run was asked for");
  if (last.violation !== undefined) {
    printViolation(last, parsed);
    if (parsed.replay === undefined) await printShrunk(last, parsed);
    return 1;
  }
  console.log(formatTotals(sumUp(results)));
  if (results.length === 1) console.log(`trace hash ${last.traceHash}`);
  console.log("no violation");
  return 0;
}

/** In order, up to the first that breaks a rule. */
async function runSeeds({ seed, count, overrides, options }: Arguments): Promise<readonly RunResult[]> {
  const results: RunResult[] = [];
  for (let next = seed; next < seed + count; next += 1) {
    const result = await runSeed(next, overrides, options);
    results.push(result);
    if (result.violation !== undefined) break;
  }
  return results;
}

function readArguments(): Arguments | string {
  const values = readOptions(USAGE, {
    seed: { type: "string" },
    seeds: { type: "string" },
    nodes: { type: "string" },
    workload: { type: "string" },
    planted: { type: "string" },
    trace: { type: "boolean" },
    shrink: { type: "string" },
    replay: { type: "string" },
  });
  const seed = Number(values.seed ?? 1);
  const count = Number(values.seeds ?? 1);
  const nodeCount = values.nodes === undefined ? undefined : Number(values.nodes);
  const workload = WORKLOADS.find((name) => name === values.workload);
  const planted = ALL_PLANTED.find((name) => name === values.planted);
  const shrinkRuns = Number(values.shrink ?? SHRINK_RUNS_MAX);
  const replay = values.replay === undefined ? undefined : readPlan(values.replay);
  if (!Number.isSafeInteger(seed) || seed < 0) return "--seed must be a whole number";
  if (!Number.isSafeInteger(count) || count < 1) return "--seeds must be a whole number of at least 1";
  if (nodeCount !== undefined && !(nodeCount >= 1 && nodeCount <= 7)) return "--nodes must be 1 to 7";
  if (values.workload !== undefined && workload === undefined) return "--workload has no such name";
  if (values.planted !== undefined && planted === undefined) return "--planted has no such fault";
  if (!Number.isSafeInteger(shrinkRuns) || shrinkRuns < 0) return "--shrink must be a whole number";
  if (values.replay !== undefined && replay === undefined) return "--replay is no plan that this build reads";
  return {
    seed,
    count,
    overrides: {
      ...(nodeCount === undefined ? {} : { nodeCount }),
      ...(workload === undefined ? {} : { workload }),
      ...(planted === undefined ? {} : { planted }),
    },
    options: values.trace === true ? { onTraceLine: printLine } : {},
    shrinkRuns,
    replay,
  };
}

function readPlan(fileOrJson: string): RunPlan | undefined {
  return parsePlan(existsSync(fileOrJson) ? readFileSync(fileOrJson, "utf8") : fileOrJson);
}

function printViolation({ plan, violation, lastLines, traceHash }: RunResult, { overrides, options }: Arguments): void {
  if (violation === undefined) return;
  if (options.onTraceLine === undefined) for (const line of lastLines) printLine(line);
  console.log(`\nVIOLATION of ${violation.check} at seed ${plan.seed} (trace hash ${traceHash})`);
  console.log(violation.message);
  console.log(`\nreplay: ${replayCommand(plan.seed, overrides)}`);
}

async function printShrunk({ plan: { seed } }: RunResult, { overrides, shrinkRuns }: Arguments): Promise<void> {
  if (shrinkRuns === 0) return;
  const { result, runs } = await shrinkSeed(seed, overrides, shrinkRuns);
  const text = JSON.stringify(result.plan);
  const file = join(tmpdir(), `aether-sim-${seed}.json`);
  writeFileSync(file, text);
  console.log(`\nsmallest of ${runs} runs, ${result.violation?.check ?? ""}: ${result.violation?.message ?? ""}`);
  console.log(text);
  console.log(`\nreplay: npm run sim -- --replay ${file} --trace`);
}

function printLine(line: TraceLine): void {
  console.log(formatTraceLine(line, describePayload));
}

function describePayload(payload: Uint8Array): string {
  const messages = decodeMessages(payload);
  return messages === undefined ? `${payload.byteLength} bytes` : messages.map(describeMessage).join(" ");
}

function describeMessage(message: Message): string {
  switch (message.kind) {
    case "ballot": {
      const { kind, slot, phase, choice } = message.ballot;
      return `${kind}(${slot}/${phase}=${choiceKeyOf(choice)})`;
    }
    case "proposal":
      return `proposal(${message.slot}=${choiceKeyOf(message.value)})`;
    case "decision":
      return `decision(${message.slot}=${choiceKeyOf(message.outcome)})`;
    case "batch":
      return `batch(${batchKeyOf(message.id)})`;
    case "status":
      return `status(applied ${message.applied}, decided ${message.decided}, doubt below ${message.doubtBelow})`;
    case "pull-slots":
      return `pull-slots(${message.slots.join(",")})`;
    case "log":
      return `log(from ${message.from}, ${message.entries.length} slots)`;
    default:
      return message.kind;
  }
}

process.exitCode = await main();

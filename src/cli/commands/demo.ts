// Owns: `aether demo`: the first thing a newcomer runs.
import { randomInt } from "node:crypto";
import { resolve } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { NODE_COUNT, type VictimChoice } from "../demo/demo-options.ts";
import { judge, reportText } from "../demo/demo-report.ts";
import type { DemoRun } from "../demo/demo-run.ts";
import { EXIT } from "../exit.ts";
import { addAgentDemoCommand } from "./demo-agent.ts";

interface DemoFlags {
  readonly victim?: VictimChoice;
  readonly seed: number;
  readonly keep?: boolean;
  readonly dir: string;
}

export function addDemoCommand(program: Command, io: CliIo): void {
  const demo = program
    .command("demo")
    .description("three nodes, slices that call each other, and a kill -9 that nobody notices")
    .option("--victim <who>", "convener, leader or a node such as n2 (default: drawn from the seed)", parseVictim)
    .option("--seed <n>", "repeats the choices of an earlier run", parseSeed, randomInt(1_000_000))
    .option("--keep", "leave the cluster running afterwards")
    .option("--dir <directory>", "where configuration and data go; what is there is deleted", "./.aether/demo")
    .addHelpText("after", "\nExamples:\n  $ aether demo\n  $ aether demo --victim leader --keep")
    .action(async (flags: DemoFlags, command: Command) => {
      const isJson = command.optsWithGlobals<{ readonly json?: boolean }>().json === true;
      await runDemo(isJson ? { ...io, print: (line) => io.report(line) } : io, flags, isJson ? io : undefined);
    });
  addAgentDemoCommand(demo, io);
}

/** `json`, when given, receives the findings as one line; the story goes to `io`. */
async function runDemo(io: CliIo, flags: DemoFlags, json: CliIo | undefined): Promise<void> {
  const { seed, victim } = flags;
  const keep = flags.keep === true;
  const { DemoRun } = await import("../demo/demo-run.ts");
  const run = new DemoRun(io, { seed, victim, directory: resolve(io.cwd, flags.dir) });
  const release = io.onInterrupt(() => void run.stopCluster().finally(() => io.exitNow(EXIT.failed)));
  try {
    const startMs = io.nowMs();
    const findings = await run.run();
    const verdicts = judge(findings);
    io.print(`\n${reportText(verdicts)}\n`);
    json?.print(JSON.stringify(findings));
    const isHeld = verdicts.every((verdict) => verdict.isHeld !== false);
    const took = `${Math.round((io.nowMs() - startMs) / 1_000)} s, seed ${seed}`;
    io.print(isHeld ? `Everything held (${took}).` : `Something did NOT hold (${took}).`);
    if (keep) await keepRunning(io, run);
    if (!isHeld) throw new CommandExit(EXIT.failed);
  } finally {
    await run.stopCluster();
    release();
  }
}

/** Until Ctrl-C, whose handler ends the process. */
async function keepRunning(io: CliIo, run: DemoRun): Promise<void> {
  run.closeClients();
  const [api] = run.apis;
  io.print(`
The cluster is still running. In another terminal:
  npx aether --api ${api} cluster status
  npx aether --api ${api} blueprint status shop
  npx aether --api ${api} call orders preview '{ "sku": "book", "quantity": 2 }'
  npx aether --api ${api} kv put data/greeting '"hello"'
APIs: ${run.apis.join(" ")}
Ctrl-C stops it.`);
  await new Promise<never>(() => undefined);
}

function parseVictim(text: string): VictimChoice {
  if (text === "convener" || text === "leader") return text;
  if (/^n[1-9]$/.test(text) && Number(text.slice(1)) <= NODE_COUNT) return text as VictimChoice;
  throw new InvalidArgumentError(`use convener, leader or the name of a node, n1 to n${NODE_COUNT}`);
}

function parseSeed(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError("use a whole number");
}

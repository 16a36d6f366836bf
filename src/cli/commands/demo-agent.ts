// Owns: `aether demo agent`: agents that pay once while nodes are killed.
import { resolve } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { AGENT_DEMO, type AgentDemoOptions } from "../demo/agent-options.ts";
import { judgeAgents } from "../demo/agent-verdict.ts";
import { reportText, seconds } from "../demo/demo-report.ts";
import { EXIT } from "../exit.ts";
import { UsageError } from "../usage-error.ts";

type OwnFlags = Pick<AgentDemoOptions, "jobs" | "seconds" | "kills">;

/** With those that it shares with `aether demo`. */
interface AgentDemoFlags extends OwnFlags {
  readonly seed: number;
  readonly dir: string;
  readonly victim?: string;
  readonly keep?: boolean;
  readonly json?: boolean;
}

/** The most customers of one run: the audit at its end reads the logs of all their jobs. */
const JOBS_MAX = 1_000;
const SECONDS_MAX = 3_600;

export function addAgentDemoCommand(demo: Command, io: CliIo): void {
  demo
    .command("agent")
    .description("agents that ask a model and a person and pay once, while nodes are killed in the middle of it")
    .option("--jobs <n>", "how many customers", parseCount(JOBS_MAX), AGENT_DEMO.jobs)
    .option("--seconds <n>", "for how long nodes are killed", parseCount(SECONDS_MAX), AGENT_DEMO.seconds)
    .option("--kills <n>", "at least so many, half of them in the middle of a payment", parseCount(SECONDS_MAX),
      AGENT_DEMO.kills)
    .addHelpText("after", "\nExample:\n  $ aether demo agent --jobs 40 --seconds 20 --kills 6")
    .action(async (_flags: OwnFlags, command: Command) => {
      const { jobs, seconds: killSeconds, kills, ...shared } = command.optsWithGlobals<AgentDemoFlags>();
      const { seed, dir, victim, keep, json: isJson = false } = shared;
      if (victim !== undefined || keep === true) {
        throw new UsageError("--victim and --keep are for aether demo alone: leave them out");
      }
      const options = { jobs, seconds: killSeconds, kills, seed, directory: resolve(io.cwd, dir) };
      await runAgentDemo(isJson ? { ...io, print: (line) => io.report(line) } : io, options, isJson ? io : undefined);
    });
}

/** `json`, when given, receives the findings as one line; the story goes to `io`. */
async function runAgentDemo(io: CliIo, options: AgentDemoOptions, json: CliIo | undefined): Promise<void> {
  const { AgentDemoRun } = await import("../demo/agent-run.ts");
  const run = new AgentDemoRun(io, options);
  const release = io.onInterrupt(() => void run.stop().finally(() => io.exitNow(EXIT.failed)));
  try {
    const findings = await run.run();
    const verdicts = judgeAgents(findings, run.wants);
    const isHeld = verdicts.every((verdict) => verdict.isHeld !== false);
    io.print(`\n${reportText(verdicts)}\n`);
    json?.print(JSON.stringify({ isHeld, ...findings }));
    const took = `${seconds(findings.tookMs)}, seed ${options.seed}`;
    io.print(isHeld ? `Everything held (${took}).` : `Something did NOT hold (${took}).`);
    if (!isHeld) throw new CommandExit(EXIT.failed);
  } finally {
    await run.stop();
    release();
  }
}

function parseCount(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isSafeInteger(value) && value >= 0 && value <= max) return value;
    throw new InvalidArgumentError(`use a whole number up to ${max}`);
  };
}

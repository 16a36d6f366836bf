// Owns: `aether job start | wait`: starting a job, and waiting for how one ends.
import { InvalidArgumentError, type Command } from "commander";
import { AetherError, toAetherError } from "../../../base/errors.ts";
import type { ErrorCode } from "../../../base/error-catalog.ts";
import type { CliIo } from "../../cli-io.ts";
import { CommandExit } from "../../command-exit.ts";
import { EXIT } from "../../exit.ts";
import { untilInterrupt } from "../../interrupt.ts";
import {
  JOBS, jobSchema, resultAnswerSchema, resultLine, startedSchema, statusText, type ShownResult,
} from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";
import { addAttribute } from "./attribute.ts";
import { budgetOf, parseAmount } from "./budget.ts";

/** One request waits so long for the result; between two the progress is told. */
const ROUND_MS = 1_000;
/** A node that does not answer is asked again for so long: the job goes on meanwhile. */
const SILENCE_MS_MAX = 60_000;
const QUEUE_CLASSES: readonly string[] = ["realtime", "default", "background", "heavy"];
const PASSING: ReadonlySet<ErrorCode> =
  new Set<ErrorCode>(["E_UNAVAILABLE", "E_TIMEOUT", "E_NO_QUORUM", "E_OVERLOADED"]);

const START_HELP = `
The same --id or --key with the same INPUT again is the same job, so that a start whose outcome is not known can be
repeated. With --wait the output of the job is printed, and progress told on stderr; Ctrl-C ends the waiting only.

Examples:
  $ aether job start claims '{"order": "o-17"}' --wait
  $ aether job start claims @claim.json --id claim-17
  $ aether job start claims @claim.json --key mail-4711 --attribute region=eu
  $ aether job start report --class background --label gpu=yes`;

interface StartFlags {
  readonly id?: string;
  readonly key?: string;
  readonly attribute?: Readonly<Record<string, string>>;
  readonly label?: Readonly<Record<string, string>>;
  readonly class?: string;
  readonly priority?: number;
  readonly maxDuration?: string;
  readonly budgetUsd?: number;
  readonly budgetTokens?: number;
  readonly budgetSteps?: number;
  readonly wait?: boolean;
}

export function addStartCommand(group: Command, io: CliIo): void {
  group
    .command("start")
    .description("start a job of an agent and print its id")
    .argument("<agent>", "name of the agent")
    .argument("[input]", "input as JSON, @FILE, or - for stdin")
    .option("--id <id>", "id of the job; default: one that sorts by time")
    .option("--key <key>", "idempotency key: starts with the same one are one job")
    .option("--attribute <name=value>", "text to find the job by, may be repeated", addAttribute)
    .option("--label <name=value>", "label of the node that runs it, may be repeated", addAttribute)
    .option("--class <class>", `its share of the places: ${QUEUE_CLASSES.join(", ")}`, parseClass)
    .option("--priority <n>", "among jobs of its class, higher goes first", parsePriority)
    .option("--max-duration <duration>", 'then it is asked to end, and has failed, as "2 hours"')
    .option("--budget-usd <usd>", "US dollars that it may spend", parseAmount)
    .option("--budget-tokens <n>", "tokens of models that it may spend", parseAmount)
    .option("--budget-steps <n>", "steps that it may record", parseAmount)
    .option("--wait", "wait until the job has ended, and print its output")
    .addHelpText("after", START_HELP)
    .action(async (agent: string, input: string | undefined, flags: StartFlags, command: Command) => {
      const session = openSession(command, io);
      const { id, key, attribute: attributes, label: labels, class: queueClass, priority, maxDuration } = flags;
      const budget = budgetOf({ usd: flags.budgetUsd, tokens: flags.budgetTokens, steps: flags.budgetSteps });
      const given = input === undefined ? {} : { input: parseJsonArgument(await readArgument(io, input), "INPUT") };
      const started = await session.api.request(startedSchema, "POST", JOBS, {
        json: { agent, ...given, id, attributes, labels, queueClass, priority, maxDuration, budget },
        ...(key === undefined ? {} : { headers: { "idempotency-key": key } }),
      });
      if (flags.wait !== true) {
        return session.show(started, ({ job, isNew }) => isNew ? job : `${job} (started before)`);
      }
      io.report(`job ${started.job}${started.isNew ? "" : " was started before"}`);
      await waitAndShow(session, started.job);
    });
}

export function addWaitCommand(group: Command, io: CliIo): void {
  group
    .command("wait")
    .description("wait until a job has ended, and print its output")
    .argument("<job>", "id of the job")
    .addHelpText("after", "\nExit code 1 when it failed or was cancelled.\n\nExample:\n  $ aether job wait claim-17")
    .action(async (job: string, _flags: unknown, command: Command) => waitAndShow(openSession(command, io), job));
}

/** Prints the output, or fails as the job did. */
export async function waitAndShow(session: Session, job: string): Promise<void> {
  const { io } = session;
  const result = await untilInterrupt(io, async (signal) => {
    try {
      return await waitForEnd(session, job, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
      io.report(`job ${job} goes on; aether job wait ${job} waits for it again`);
      throw new CommandExit(EXIT.failed);
    }
  });
  switch (result.kind) {
    case "completed":
      return session.show({ job, result }, () => JSON.stringify(result.output ?? null, undefined, 2));
    case "failed":
    case "cancelled":
      if (session.isJson) io.print(JSON.stringify({ job, result }));
      io.report(`job ${job} ${resultLine(result)}`);
      throw new CommandExit(EXIT.failed);
  }
}

async function waitForEnd(session: Session, job: string, signal: AbortSignal): Promise<ShownResult> {
  const { io } = session;
  let told = "";
  let answeredMs = io.nowMs();
  for (;;) {
    try {
      const { result } = await session.api.get(resultAnswerSchema, `${apiPath(JOBS, job)}/result?waitMs=${ROUND_MS}`, {
        signal,
      });
      if (result !== undefined) return result;
      const text = statusText(await session.api.get(jobSchema, apiPath(JOBS, job), { signal }));
      if (text !== told) io.report(`job ${job} is ${text}`);
      told = text;
      answeredMs = io.nowMs();
    } catch (thrown) {
      const error = toAetherError(thrown);
      if (signal.aborted || !PASSING.has(error.code)) throw thrown;
      if (io.nowMs() - answeredMs > SILENCE_MS_MAX) throw goesOn(job, error);
      await io.sleep(ROUND_MS, signal);
    }
  }
}

function parseClass(text: string): string {
  if (QUEUE_CLASSES.includes(text)) return text;
  throw new InvalidArgumentError(`use one of ${QUEUE_CLASSES.join(", ")}`);
}

function parsePriority(text: string): number {
  const value = Number(text);
  if (text !== "" && Number.isInteger(value)) return value;
  throw new InvalidArgumentError("use a whole number");
}

function goesOn(job: string, { code, message }: AetherError): AetherError {
  return new AetherError(code, `${message}; job ${job} goes on, wait for it through another node with --api`, {
    outcome: "none",
  });
}

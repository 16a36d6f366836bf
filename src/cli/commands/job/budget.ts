// Owns: `aether job budget`: letting a job spend more; and how budgets are written and shown here.
import { randomUUID } from "node:crypto";
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, type ShownAmounts, type ShownJob } from "../../job-answers.ts";
import { apiPath, openSession } from "../../options.ts";
import { UsageError } from "../../usage-error.ts";

const raisedSchema = z.object({ job: z.string() });

const HELP = `
A job that waits for its budget goes on. What its budget does not limit cannot be raised.

Examples:
  $ aether job budget claim-17 --add-usd 5
  $ aether job budget claim-17 --add-tokens 100000 --key ticket-4711`;

interface RaiseFlags {
  readonly addUsd?: number;
  readonly addTokens?: number;
  readonly addSteps?: number;
  readonly key?: string;
}

export function addBudgetCommand(group: Command, io: CliIo): void {
  group
    .command("budget")
    .description("let a job spend more")
    .argument("<job>", "id of the job")
    .option("--add-usd <usd>", "US dollars", parseAmount)
    .option("--add-tokens <n>", "tokens of models", parseAmount)
    .option("--add-steps <n>", "steps that it may record", parseAmount)
    .option("--key <key>", "idempotency key: sent again with the same one it is the same raise")
    .addHelpText("after", HELP)
    .action(async (job: string, { addUsd, addTokens, addSteps, key = randomUUID() }: RaiseFlags, command: Command) => {
      const add = budgetOf({ usd: addUsd, tokens: addTokens, steps: addSteps });
      if (add === undefined) throw new UsageError("say one of --add-usd, --add-tokens and --add-steps");
      const session = openSession(command, io);
      const raised = await session.api.request(raisedSchema, "POST", apiPath(JOBS, job, "budget"), {
        json: { add }, headers: { "idempotency-key": key },
      });
      session.show(raised, () => `job ${job} may spend more`);
    });
}

/** Undefined when nothing of it is said. */
export function budgetOf(amounts: ShownAmounts): ShownAmounts | undefined {
  return Object.values(amounts).every((amount) => amount === undefined) ? undefined : amounts;
}

export function parseAmount(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError("use a number from 0 on");
}

/** What is spent and reserved of each limit, as one line. */
export function budgetText({ limit, reserved, spent }: NonNullable<ShownJob["budget"]>): string {
  const parts = (["usd", "tokens", "steps"] as const).flatMap((unit) => {
    const most = limit[unit];
    const unitText = unit === "usd" ? "USD" : unit;
    const held = reserved[unit] ?? 0;
    const heldText = held === 0 ? "" : `, ${held} reserved`;
    return most === undefined ? [] : [`${spent[unit] ?? 0} of ${most} ${unitText} spent${heldText}`];
  });
  return parts.join("; ");
}

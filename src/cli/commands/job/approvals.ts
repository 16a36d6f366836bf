// Owns: `aether job approvals | approve | reject`: what jobs wait for people to decide.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../../cli-io.ts";
import { approvalSchema, JOBS, type ShownApproval } from "../../job-answers.ts";
import { apiPath, openSession } from "../../options.ts";
import { printable } from "../../printable.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";

const listSchema = z.object({ approvals: z.array(approvalSchema), more: z.boolean(), next: z.string().optional() });
const decidedSchema = z.object({ job: z.string(), approval: z.string(), approved: z.boolean() });

const LIST_HELP = `
Examples:
  $ aether job approvals
  $ aether job approvals claim-17 --json`;

const HELP = `
NAME is what aether job approvals shows; without its number where the job asks for one approval of that name only. The
first decision counts: the second one is refused, with the name of whoever was first.

Examples:
  $ aether job approve claim-17 manager
  $ aether job reject claim-17 refund#1 --data '{"why": "the order was delivered"}'`;

export function addApprovalsCommand(group: Command, io: CliIo): void {
  group
    .command("approvals")
    .description("what jobs wait for people to decide")
    .argument("[job]", "id of the job; without it those of all")
    .option("--after <place>", "only what comes after: `next` of the answer before")
    .addHelpText("after", LIST_HELP)
    .action(async (job: string | undefined, { after }: { readonly after?: string }, command: Command) => {
      const session = openSession(command, io);
      const query = new URLSearchParams({
        ...(job === undefined ? {} : { job }), ...(after === undefined ? {} : { after }),
      });
      const page = await session.api.get(listSchema, `/v1/approvals?${query.toString()}`);
      session.show(page, ({ approvals, more, next = "" }) => {
        const rest = more ? `\n… and more: --after ${next}` : "";
        return approvals.length === 0 ? `nothing waits for a decision${rest}` :
          `${approvals.map(approvalText).join("\n\n")}${rest}`;
      });
    });
}

export function addDecisionCommands(group: Command, io: CliIo): void {
  addDecision(group, io, { verb: "approve", approved: true, done: "approved" });
  addDecision(group, io, { verb: "reject", approved: false, done: "rejected" });
}

/** What is asked, what it shows, and how to answer. */
export function approvalText(asked: ShownApproval): string {
  const { job, tool, summary, data, untilMs } = asked;
  const until = untilMs === undefined ? "" : ` until ${new Date(untilMs).toISOString()}`;
  const toolText = tool === undefined ? "" : `${tool} `;
  return [
    `${job} asks${until}: ${summary}`,
    ...(data === undefined || data === null ? [] : [`  ${toolText}${JSON.stringify(data)}`]),
    `  aether job approve ${job} ${quoted(shortName(asked))}`,
  ].map(printable).join("\n");
}

/** Of a tool's call, the call: what follows it is ours. */
function shortName({ approval, tool }: ShownApproval): string {
  return tool === undefined ? approval : approval.replace(/\/approval#1$/, "");
}

function quoted(name: string): string {
  return name.includes(" ") ? `'${name}'` : name;
}

function addDecision(
  group: Command, io: CliIo,
  { verb, approved, done }: { readonly verb: string; readonly approved: boolean; readonly done: string },
): void {
  group
    .command(verb)
    .description(approved ? "say yes to what a job asks" : "say no to what a job asks")
    .argument("<job>", "id of the job")
    .argument("<name>", "name of the approval")
    .option("--data <data>", "what the job is told with it: JSON, @FILE, or - for stdin")
    .option("--key <key>", "idempotency key: with the same one again it is the same decision")
    .addHelpText("after", HELP)
    .action(async (
      job: string, name: string, { data, key }: { readonly data?: string; readonly key?: string }, command: Command,
    ) => {
      const session = openSession(command, io);
      const told = data === undefined ? {} : { data: parseJsonArgument(await readArgument(io, data), "--data") };
      const decided = await session.api.request(decidedSchema, "POST", apiPath(JOBS, job, "approvals", name), {
        json: { approved, ...told }, ...(key === undefined ? {} : { headers: { "idempotency-key": key } }),
      });
      session.show(decided, ({ approval }) => `${done}: ${approval} of job ${job}`);
    });
}

// Owns: `aether job show`.
import type { Command } from "commander";
import { AetherError } from "../../../base/errors.ts";
import type { CliIo } from "../../cli-io.ts";
import {
  errorLine, JOBS, jobSchema, payloadText, queueText, resultAnswerSchema, resultLine, statusText,
  type ShownJob, type ShownTool,
} from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { printable } from "../../printable.ts";
import { table } from "../../table.ts";
import { approvalText } from "./approvals.ts";
import { budgetText } from "./budget.ts";

const HELP = `
A call of a tool that is UNKNOWN may have happened: find out, then say so with aether job resolve.

Of an input or output above 64 KiB its size and digest are shown; --output has the value.

Examples:
  $ aether job show claim-17
  $ aether job show claim-17 --output > claim-17.json`;

export function addShowCommand(group: Command, io: CliIo): void {
  group
    .command("show")
    .description("one job: what it does or waits for, the calls of its tools, its result")
    .argument("<job>", "id of the job")
    .option("--output", "what it answered and nothing else, as JSON, however large")
    .addHelpText("after", HELP)
    .action(async (id: string, { output }: { readonly output?: true }, command: Command) => {
      const session = openSession(command, io);
      if (output === true) return showOutput(session, id);
      session.show(await session.api.get(jobSchema, apiPath(JOBS, id)), showText);
    });
}

async function showOutput(session: Session, job: string): Promise<void> {
  const { result } = await session.api.get(resultAnswerSchema, `${apiPath(JOBS, job)}/result`);
  if (result?.kind === "completed") return session.show(result.output ?? null, (value) => JSON.stringify(value));
  const found = result === undefined ? "it has not ended" : resultLine(result);
  throw new AetherError("E_NOT_FOUND", `job ${job} has no output: ${found}`);
}

function showText(job: ShownJob): string {
  const attributes = pairs(job.attributes);
  const labels = pairs(job.labels ?? {});
  const lines = [
    ["job", job.job],
    ["agent", job.artifact === undefined ? job.agent : `${job.agent} of ${job.artifact}`],
    ["status", job.pending === undefined ? statusText(job) : `${job.status}: ${job.pending}`],
    ["class", queueText(job)],
    ["since", new Date(job.sinceMs).toISOString()],
    ["created", new Date(job.createdMs).toISOString()],
    ...(attributes.length === 0 ? [] : [["attributes", attributes.join(" ")]]),
    ...(labels.length === 0 ? [] : [["labels", labels.join(" ")]]),
    ...(job.deadlineMs === undefined ? [] : [["deadline", new Date(job.deadlineMs).toISOString()]]),
    ...(job.budget === undefined ? [] : [["budget", budgetText(job.budget)]]),
    ["events", `${runText(job)}${job.events}, of which ${job.steps} steps; epoch ${job.epoch}`],
    ...(job.isLogHalfFull === true
      ? [["warning", "half of what its log may have is used: let its code go on with job.continueAs"]]
      : []),
    ...(job.parent === undefined ? [] : [["parent", `${job.parent}, which started it as ${job.parentCall ?? ""}`]]),
    ...(job.collectedMs === undefined
      ? [["input", payloadText(job.input, job.inputBlob)]]
      : [["collected", `${new Date(job.collectedMs).toISOString()}: only the outcome is kept`]]),
    ...resultLines(job),
  ].map(([name = "", value = ""]) => printable(`${name.padEnd(11)}${value}`));
  const asked = (job.approvals ?? []).flatMap((approval) => ["", approvalText(approval)]);
  return [...lines, ...toolLines(job), ...childLines(job), ...asked, ...untoldLines(job)].join("\n");
}

function untoldLines({ untold }: ShownJob): readonly string[] {
  if (untold === undefined) return [];
  const rows = untold.last.map(({ hook, event, seq, atMs, reason }) =>
    [hook, event, String(seq), new Date(atMs).toISOString(), printable(reason)]);
  return ["", table(["WEBHOOK", "NOT TOLD", "EVENT", "AT", "WHY"], rows)];
}

function runText({ run = 1 }: ShownJob): string {
  return run === 1 ? "" : `run ${run}: `;
}

function pairs(texts: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(texts).map(([name, value]) => `${name}=${value}`);
}

function resultLines({ result }: ShownJob): readonly (readonly string[])[] {
  switch (result?.kind) {
    case "completed":
      return [["output", payloadText(result.output, result.blob)]];
    case "failed":
      return [["error", errorLine(result.error)]];
    default:
      return [];
  }
}

function toolLines({ tools }: ShownJob): readonly string[] {
  if (tools.length === 0) return [];
  return ["", table(["CALL", "EFFECT", "STATE", "ATTEMPT", "EFFECT ID", ""], tools.map(toolRow))];
}

function childLines({ children }: ShownJob): readonly string[] {
  if (children.length === 0) return [];
  return ["", table(["CHILD", "AGENT", "STATUS"], children.map(({ job, agent, status }) => [job, agent, status]))];
}

function toolRow({ call, effect, state, attempt, effectId, externalId, reason }: ShownTool): readonly string[] {
  const shownState = state === "unknown" ? "UNKNOWN" : state;
  return [call, effect, shownState, String(attempt), effectId.slice(0, 16), printable(reason ?? externalId ?? "")];
}

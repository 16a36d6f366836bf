// Owns: the events of a job as a timeline for people: one line each, with the time since the job began.
import { errorLine, payloadText, type ShownEvent } from "./job-answers.ts";
import { printable } from "./printable.ts";

export interface TraceLine {
  readonly seq: number;
  /** Since the first event. The times are those of different nodes, so that one may be before the one above it. */
  readonly offsetMs: number;
  readonly text: string;
}

type Data = ShownEvent["data"];

const VALUE_LENGTH_MAX = 100;

/** What is said of each kind of event; one that is not known here is shown as it is. */
const TEXTS: Readonly<Record<string, (data: Data, epoch: number) => string>> = {
  "job.created": ({ agent }) => `created, agent ${text(agent)}`,
  "job.claimed": ({ node }, epoch) => `claimed by ${text(node)}, epoch ${epoch}`,
  "job.waiting": ({ reason, on, why }) => `waits: ${text(reason)}${onText(on)}${whyText(why)}`,
  "job.released": () => "released: its node stops",
  "job.cancel-requested": ({ principal, reason }) =>
    reason === "deadline" ? "its longest duration is over: asked to end" : `cancel asked for by ${text(principal)}`,
  "job.continued": ({ run }) => `continued as run ${text(run)}`,
  "job.repeated": ({ of, kind }) => `${kind === "fork" ? "forks" : "retries"} ${text(of)}`,
  "job.let-go": ({ principal }) => `let go on by ${text(principal)}`,
  "job.moved": ({ fromArtifact, toArtifact, principal }) =>
    `moved from ${text(fromArtifact)} to ${text(toArtifact)} by ${text(principal)}`,
  "job.completed": () => "completed",
  "job.failed": ({ error }) => `failed: ${errorText(error)}`,
  "job.cancelled": () => "cancelled",
  "step.completed": ({ call, value }) => `step ${text(call)} = ${short(value)}`,
  "step.failed": ({ call, error }) => `step ${text(call)} failed: ${errorText(error)}`,
  "value.recorded": ({ call, value }) => `value ${text(call)} = ${short(value)}`,
  "tool.granted": ({ call, effect, attempt, input }) =>
    `tool ${text(call)} granted (${text(effect)}, attempt ${text(attempt)}) with ${short(input)}`,
  "tool.succeeded": ({ call, result, externalId, problem, usage }) =>
    `tool ${text(call)} = ${short(usage === undefined ? result : saidIn(result))}${also("as", externalId)}` +
    `${also("but", problem)}${usageText(usage)}`,
  "tool.failed": ({ call, error }) => `tool ${text(call)} failed: ${errorText(error)}`,
  "tool.doubted": ({ call, reason, input }) => `tool ${text(call)} UNKNOWN with ${short(input)}: ${text(reason)}`,
  "tool.unknown": ({ call, reason }) => `tool ${text(call)} UNKNOWN: ${text(reason)}`,
  "tool.resolved": ({ call, by, resolution }) =>
    `tool ${text(call)} resolved by ${resolverText(by)}: ${resolutionText(resolution)}`,
  "tool.verified": ({ call, verdict, onMismatch }) => `tool ${text(call)} ${verdictText(verdict, onMismatch)}`,
  "timer.set": ({ call, dueMs }) => `timer ${text(call)} set for ${timeText(dueMs)}`,
  "timer.fired": ({ call }) => `timer ${text(call)} fired`,
  "child.started": ({ call, agent, job, isDetached }) =>
    `child ${text(call)} of ${text(agent)} started as ${text(job)}${isDetached === true ? ", detached" : ""}`,
  "child.completed": ({ call, output }) => `child ${text(call)} = ${short(output)}`,
  "child.failed": ({ call, error }) => `child ${text(call)} failed: ${errorText(error)}`,
  "child.detached": ({ call, job }) => `child ${text(call)} goes on by itself as ${text(job)}`,
  "approval.requested": ({ call, summary, data, untilMs }) =>
    `approval ${text(call)} asked for: ${text(summary)}${data === null ? "" : ` ${short(data)}`}` +
    `${untilMs === undefined ? "" : `, until ${timeText(untilMs)}`}`,
  "approval.decided": ({ call, approved, principal, data }) =>
    `approval ${text(call)} ${approved === true ? "given" : "refused"} by ${text(principal)}` +
    `${data === null ? "" : ` with ${short(data)}`}`,
  "signal.received": ({ call, signal, payload }) => `signal ${text(signal)} for ${text(call)}: ${short(payload)}`,
};

function verdictText(verdict: unknown, onMismatch: unknown): string {
  const { kind, why } = fields(verdict);
  if (kind === "agrees") return "verified: it is so outside";
  if (kind === "unknown") return `not verified: ${text(why)}`;
  return `is not so outside (${text(onMismatch)}): ${text(why)}`;
}

export function traceOf(events: readonly ShownEvent[]): readonly TraceLine[] {
  const startMs = events[0]?.atMs ?? 0;
  return events.map(({ seq, atMs, type, data, epoch }) => ({
    seq,
    offsetMs: atMs - startMs,
    text: printable(TEXTS[type]?.(withApart(data), epoch) ?? `${type} ${short(data)}`),
  }));
}

/** What is stored apart is said by its size and digest, wherever the event has it. */
function withApart(data: Data): Data {
  if (data["blob"] === undefined) return data;
  const said = payloadText(undefined, data["blob"]);
  return { ...data, value: said, result: said, input: said, output: said, payload: said };
}

/** Columns: number, time since the beginning, what happened. */
export function traceText(lines: readonly TraceLine[]): string {
  return lines.map(({ seq, offsetMs, text: what }) =>
    `${String(seq).padStart(5)}  ${offsetText(offsetMs).padStart(12)}  ${what}`).join("\n");
}

function offsetText(offsetMs: number): string {
  return `${offsetMs < 0 ? "-" : "+"}${(Math.abs(offsetMs) / 1_000).toFixed(3)} s`;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : short(value);
}

function short(value: unknown): string {
  const json = JSON.stringify(value) ?? "null";
  return json.length <= VALUE_LENGTH_MAX ? json : `${json.slice(0, VALUE_LENGTH_MAX - 1)}…`;
}

function also(word: string, value: unknown): string {
  return value === undefined ? "" : `, ${word} ${text(value)}`;
}

function whyText(why: unknown): string {
  return why === undefined ? "" : `: ${text(why)}`;
}

/** Of what a model answers the rest is said otherwise. */
function saidIn(result: unknown): unknown {
  const { text: said, toolCalls } = fields(result);
  return Array.isArray(toolCalls) && toolCalls.length > 0 ? toolCalls : said;
}

function usageText(usage: unknown): string {
  if (usage === undefined) return "";
  const { model, inputTokens, outputTokens, isEstimated } = fields(usage);
  const about = isEstimated === true ? "about " : "";
  return ` (${text(model)}, ${about}${short(inputTokens)} tokens in, ${short(outputTokens)} out)`;
}

function onText(on: unknown): string {
  return Array.isArray(on) && on.length > 0 ? ` (${on.map(text).join(", ")})` : "";
}

function timeText(ms: unknown): string {
  return typeof ms === "number" ? new Date(ms).toISOString() : short(ms);
}

function errorText(error: unknown): string {
  const { name, message, code } = fields(error);
  return typeof name === "string" && typeof message === "string"
    ? errorLine({ name, message, ...(typeof code === "string" ? { code } : {}) })
    : short(error);
}

function resolverText(by: unknown): string {
  const { kind, principal } = fields(by);
  return kind === "late" ? "its own late answer" : kind === "person" ? text(principal) : text(kind);
}

function resolutionText(resolution: unknown): string {
  const { kind, result, reason } = fields(resolution);
  return `${text(kind)}${also("with", result)}${also("because", reason)}`;
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

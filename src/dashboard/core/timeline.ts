// Owns: the log of a job as people read it: what belongs to one call is one line with a beginning and an end.
// Does not own: how a line is drawn.
import type { JobEventAnswer } from "../answers.ts";
import { durationText, preview } from "./format.ts";
import type { Tone } from "./quorum.ts";

export type MomentKind = "life" | "step" | "tool" | "timer" | "signal" | "approval" | "child" | "budget";

export interface Moment {
  /** Of its first event: stays what it is while more is added. */
  readonly seq: number;
  readonly kind: MomentKind;
  readonly title: string;
  readonly note: string;
  readonly tone: Tone;
  readonly fromMs: number;
  /** Absent while it goes on; the same as `fromMs` for what has no duration. */
  readonly toMs?: number;
  readonly events: readonly JobEventAnswer[];
}

/** What an event says of the line that it belongs to. */
interface Reading {
  readonly kind: MomentKind;
  readonly title: string;
  readonly note: string;
  readonly tone: Tone;
  /** `opens` something that ends later; `closes` it, or stands for itself where nothing was open. */
  readonly part: "opens" | "goes-on" | "closes";
  /** What belongs together has the same. */
  readonly line: string | undefined;
}

export function timelineOf(events: readonly JobEventAnswer[]): readonly Moment[] {
  const moments: Moment[] = [];
  const places = new Map<string, number>();
  let before: number | undefined;
  for (const event of events) {
    const reading = readEvent(event);
    for (const { line, note } of endedBy(event)) {
      const place = places.get(line);
      const open = place === undefined ? undefined : moments[place];
      if (place === undefined || open === undefined) continue;
      places.delete(line);
      moments[place] = { ...open, note: note ?? open.note, toMs: event.atMs };
    }
    const place = reading.line === undefined ? undefined : places.get(reading.line);
    const open = place === undefined ? undefined : moments[place];
    if (place !== undefined && open !== undefined) {
      moments[place] = joined(open, event, reading);
      if (reading.part === "closes" && reading.line !== undefined) places.delete(reading.line);
    } else {
      // Only the end of a step is in the log: it began no earlier than what was written before it.
      const fromMs = reading.kind === "step" ? (before ?? event.atMs) : event.atMs;
      if (reading.part === "opens" && reading.line !== undefined) places.set(reading.line, moments.length);
      moments.push(begun(event, reading, fromMs));
    }
    before = event.atMs;
  }
  return moments;
}

const WAITING = "job waits";

/** What comes of a wait that has a limit: its timer is not needed any more. */
const ENDS_OF_WAITS: ReadonlySet<string> = new Set([
  "signal.received", "approval.decided", "child.completed", "child.failed", "step.failed",
]);

/** Lines that an event ends without being a part of them. */
function endedBy({ type, data }: JobEventAnswer): readonly { readonly line: string; readonly note?: string }[] {
  return [
    // A job that is claimed, or has ended, waits no more.
    ...(type === "job.waiting" ? [] : [{ line: WAITING }]),
    // Of what is named after a call alone there are only timers.
    ...(ENDS_OF_WAITS.has(type) ? [{ line: text(data["call"]), note: "not needed any more" }] : []),
  ];
}

function begun(event: JobEventAnswer, reading: Reading, fromMs: number): Moment {
  const { kind, title, note, tone, part } = reading;
  const end = part === "opens" ? {} : { toMs: event.atMs };
  return { seq: event.seq, kind, title, note, tone, fromMs, ...end, events: [event] };
}

function joined(open: Moment, event: JobEventAnswer, { note, tone, part }: Reading): Moment {
  const events = [...open.events, event];
  const told = { ...open, note: note === "" ? open.note : note, tone, events };
  return part === "closes" ? { ...told, toMs: event.atMs } : told;
}

function readEvent({ type, data, atMs }: JobEventAnswer): Reading {
  const [noun = "", verb = ""] = type.split(".");
  const call = text(data["call"]);
  const line = call === "" ? undefined : call;
  switch (noun) {
    case "step":
      return {
        kind: "step", title: `Step ${call}`, line: undefined, part: "closes",
        ...(verb === "failed"
          ? { tone: "bad", note: errorText(data["error"]) }
          : { tone: "good", note: shown(data, "value") }),
      };
    case "value":
      return {
        kind: "step", title: `Value ${call}`, line: undefined, part: "closes", tone: "idle", note: shown(data, "value"),
      };
    case "tool":
      return readTool(verb, data, call);
    case "timer":
      return verb === "set"
        ? { kind: "timer", title: `Timer ${call}`, note: forText(data, atMs), tone: "idle", part: "opens", line }
        : { kind: "timer", title: `Timer ${call}`, note: "its time was over", tone: "good", part: "closes", line };
    case "signal":
      return {
        kind: "signal", title: `Signal ${text(data["signal"])}`, note: shown(data, "payload"), tone: "good",
        part: "closes", line: undefined,
      };
    case "approval":
      return readApproval(verb, data, call);
    case "child":
      return readChild(verb, data, call);
    case "budget":
      return {
        kind: "budget", title: "Budget raised", tone: "idle", part: "closes", line: undefined,
        note: `${preview(data["add"])} by ${text(data["principal"])}`,
      };
    default:
      return readLife(type, data);
  }
}

/** Also a wait with a limit has a timer. */
function forText({ dueMs }: JobEventAnswer["data"], atMs: number): string {
  return typeof dueMs === "number" ? `for ${durationText(dueMs - atMs)}` : "";
}

function readTool(verb: string, data: JobEventAnswer["data"], call: string): Reading {
  const title = `Tool ${call}`;
  const line = `tool ${call}`;
  const base = { kind: "tool", title, line } as const;
  switch (verb) {
    case "granted": {
      const attempt = Number(data["attempt"] ?? 1);
      const again = attempt > 1 ? `, attempt ${attempt}` : "";
      return { ...base, part: "opens", tone: "busy", note: `${text(data["effect"])}${again}` };
    }
    case "succeeded":
      return { ...base, part: "closes", tone: "good", note: shown(data, "result") };
    case "failed":
      return { ...base, part: "closes", tone: "bad", note: errorText(data["error"]) };
    case "unknown":
    case "doubted":
      return { ...base, part: "opens", tone: "doubt", note: `outcome unknown: ${text(data["reason"])}` };
    case "resolved":
      return { ...base, part: "closes", ...resolved(data) };
    default:
      return {
        ...base, part: "goes-on", tone: verdictTone(data["verdict"]), note: `verified: ${preview(data["verdict"])}`,
      };
  }
}

function resolved(data: JobEventAnswer["data"]): Pick<Reading, "tone" | "note"> {
  const by = text(field(data["by"], "kind"));
  const who = by === "person" ? text(field(data["by"], "principal")) : by;
  const kind = text(field(data["resolution"], "kind"));
  if (kind === "done") return { tone: "good", note: `it had been done, says ${who}` };
  if (kind === "not-done") return { tone: "idle", note: `it had not been done, says ${who}` };
  return { tone: "bad", note: `given up by ${who}: ${text(field(data["resolution"], "reason"))}` };
}

function verdictTone(verdict: unknown): Tone {
  return field(verdict, "kind") === "differs" ? "bad" : "good";
}

function readApproval(verb: string, data: JobEventAnswer["data"], call: string): Reading {
  const base = { kind: "approval", title: `Approval ${call}`, line: `approval ${call}` } as const;
  if (verb === "requested") return { ...base, part: "opens", tone: "warn", note: text(data["summary"]) };
  const by = text(data["principal"]);
  return data["approved"] === true
    ? { ...base, part: "closes", tone: "good", note: `given by ${by}` }
    : { ...base, part: "closes", tone: "bad", note: `refused by ${by}` };
}

function readChild(verb: string, data: JobEventAnswer["data"], call: string): Reading {
  const base = { kind: "child", title: `Child ${call}`, line: `child ${call}` } as const;
  switch (verb) {
    case "started":
      return {
        ...base, tone: "busy", note: `${text(data["agent"])} ${text(data["job"])}`,
        part: data["isDetached"] === true ? "closes" : "opens",
      };
    case "failed":
      return { ...base, part: "closes", tone: "bad", note: errorText(data["error"]) };
    case "completed":
      return { ...base, part: "closes", tone: "good", note: shown(data, "output") };
    default:
      return { ...base, part: "goes-on", tone: "idle", note: "" };
  }
}

function readLife(type: string, data: JobEventAnswer["data"]): Reading {
  const life = { kind: "life", part: "closes", line: undefined, note: "" } as const;
  switch (type) {
    case "job.created":
      return { ...life, title: "Started", tone: "idle", note: text(data["agent"]) };
    case "job.claimed":
      return { ...life, title: `Runs on ${text(data["node"])}`, tone: "busy" };
    case "job.waiting":
      return {
        ...life, title: `Waits: ${text(data["reason"])}`, tone: "warn", part: "opens", line: WAITING,
        note: text(data["why"]),
      };
    case "job.released":
      return { ...life, title: "Left by its node, which was being stopped", tone: "idle" };
    case "job.cancel-requested":
      return {
        ...life, title: "Cancel requested", tone: "warn",
        note: text(data["reason"]) === "deadline" ? "its time is over" : `by ${text(data["principal"])}`,
      };
    case "job.completed":
      return { ...life, title: "Completed", tone: "good" };
    case "job.failed":
      return { ...life, title: "Failed", tone: "bad", note: errorText(data["error"]) };
    case "job.cancelled":
      return { ...life, title: "Cancelled", tone: "idle" };
    case "job.repeated":
      return { ...life, title: `Does ${text(data["of"])} again`, tone: "idle", note: text(data["kind"]) };
    case "job.continued":
      return { ...life, title: `Goes on as run ${text(data["run"])}`, tone: "idle" };
    case "job.moved":
      return { ...life, title: "Moved to other code", tone: "idle", note: text(data["toArtifact"]) };
    case "job.let-go":
      return { ...life, title: "Let go on", tone: "idle", note: `by ${text(data["principal"])}` };
    default:
      return { ...life, title: type, tone: "idle", note: preview(data) };
  }
}

/** A scale grows by so much at once: all bars move with it. */
const SCALE_STEP = 1.05;

/** Where the scale of the bars ends: behind `toMs`, and so that it stays there for a while. */
export function scaleEnd(fromMs: number, toMs: number): number {
  const steps = Math.ceil(Math.log(Math.max(1, toMs - fromMs)) / Math.log(SCALE_STEP));
  return fromMs + SCALE_STEP ** steps;
}

/** Where a line stands on a scale, in percent. What goes on reaches until now. */
export function barOf(moment: Moment, { fromMs, nowMs, endMs }: {
  readonly fromMs: number;
  readonly nowMs: number;
  readonly endMs: number;
}): { readonly left: number; readonly width: number } {
  const all = Math.max(1, endMs - fromMs);
  const left = Math.max(0, Math.min(100, ((moment.fromMs - fromMs) / all) * 100));
  const width = Math.max(0, Math.min(100 - left, (((moment.toMs ?? nowMs) - moment.fromMs) / all) * 100));
  return { left, width };
}

const MOMENTARY: readonly MomentKind[] = ["life", "signal", "budget"];

/** Nothing for what has no duration. */
export function lengthText(moment: Moment, nowMs: number): string {
  if (MOMENTARY.includes(moment.kind) && moment.toMs === moment.fromMs) return "";
  return durationText((moment.toMs ?? Math.max(nowMs, moment.fromMs)) - moment.fromMs);
}

function shown(data: JobEventAnswer["data"], name: string): string {
  if (data["blob"] !== undefined) return "stored apart";
  return data[name] === undefined ? "" : preview(data[name]);
}

function errorText(error: unknown): string {
  const code = text(field(error, "code"));
  const message = text(field(error, "message"));
  return code === "" ? message : `${code}: ${message}`;
}

function field(value: unknown, name: string): unknown {
  const isObject = typeof value === "object" && value !== null;
  return isObject ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

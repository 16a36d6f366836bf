// Owns: events as this version knows them, from the bytes of any version so far; the check that nothing is missing.
// Does not own: the bytes (event.ts).
import { unreachable } from "../../../base/assert.ts";
import { AetherError } from "../../../base/errors.ts";
import { blobRefSchema } from "../payloads/blob.ts";
import {
  EVENT_VERSION, readRawEvent, type JobEvent, type JobEventType, type RawEvent, type StoredEvent,
} from "./event.ts";

/** `any` may be absent: a step may give nothing. `text?` and the like may be absent too. */
type Field = "text" | "number" | "flag" | "flag?" | "texts" | "record" | "record?" | "text?" | "number?" |
  "any" | "blob?";

/** What the payload of each event has. The names of calls, nodes and digests were checked when they were written. */
const FIELDS: Readonly<Record<JobEventType, Readonly<Record<string, Field>>>> = {
  "job.created": {
    agent: "text", pin: "text", inputDigest: "text", budget: "record?", spent: "record?", blob: "blob?",
  },
  "job.claimed": { node: "text", incarnation: "number" },
  "job.waiting": { reason: "text", on: "texts", why: "text?" },
  "job.released": {},
  "job.cancel-requested": { principal: "text", reason: "text?" },
  "job.repeated": { of: "text", kind: "text", spent: "record?" },
  "budget.raised": { add: "record", principal: "text" },
  "job.let-go": { principal: "text" },
  "job.continued": { run: "number", inputDigest: "text" },
  "job.moved": { from: "text", to: "text", fromArtifact: "text", toArtifact: "text", principal: "text" },
  "job.completed": { outputDigest: "text", blob: "blob?" },
  "job.failed": { error: "record" },
  "job.cancelled": {},
  "step.completed": { call: "text", value: "any", blob: "blob?" },
  "step.failed": { call: "text", error: "record", isRefusal: "flag?" },
  "value.recorded": { call: "text", value: "any" },
  "tool.granted": {
    call: "text", tool: "text", effect: "text", canReconcile: "flag?", effectId: "text", attempt: "number",
    input: "any", inputDigest: "text", timeoutMs: "number", reserved: "record?", blob: "blob?",
  },
  "tool.succeeded": {
    call: "text", effectId: "text", result: "any", externalId: "text?", problem: "text?", usage: "record?",
    cost: "record?", blob: "blob?",
  },
  "tool.failed": { call: "text", effectId: "text", error: "record", cost: "record?" },
  "tool.doubted": {
    call: "text", tool: "text", effect: "text", canReconcile: "flag", effectId: "text", attempt: "number",
    input: "any", inputDigest: "text", timeoutMs: "number", reason: "text",
    reserved: "record?", blob: "blob?",
  },
  "tool.unknown": { call: "text", effectId: "text", reason: "text" },
  "tool.verified": { call: "text", verdict: "record", onMismatch: "text" },
  "tool.resolved": {
    call: "text", effectId: "text", by: "record", resolution: "record", problem: "text?", blob: "blob?",
  },
  "timer.set": { call: "text", dueMs: "number" },
  "timer.fired": { call: "text" },
  "signal.received": { call: "text", signal: "text", payload: "any", blob: "blob?" },
  "approval.requested": {
    call: "text", name: "text", summary: "text", data: "any", shown: "text", tool: "text?", untilMs: "number?",
  },
  "approval.decided": { call: "text", approved: "flag", principal: "text", data: "any" },
  "child.started": {
    call: "text", job: "text", agent: "text", inputDigest: "text", isDetached: "flag", budget: "record?",
  },
  "child.completed": { call: "text", output: "any", spent: "record?", blob: "blob?" },
  "child.failed": { call: "text", error: "record", spent: "record?" },
  "child.settled": { call: "text", spent: "record?" },
  "child.detached": { call: "text", job: "text" },
};

/** @throws AetherError E_DATA_CORRUPT for what is no event, E_VERSION for one of a later version */
export function readEvent(bytes: Uint8Array): StoredEvent {
  const raw = readRawEvent(bytes);
  const { atMs, epoch, version } = raw;
  return { event: toEvent(raw), atMs, epoch, version };
}

function toEvent({ type, version, payload }: RawEvent): JobEvent {
  // Version 2 has what version 1 has, and may name a payload that is stored apart.
  if (version < 1 || version > EVENT_VERSION) throw damaged(type, `there is no version ${version}`);
  for (const [name, field] of Object.entries(FIELDS[type])) {
    if (!isOf(field, payload[name])) throw damaged(type, `its field "${name}" is missing or of another type`);
  }
  return { ...withPlainBytes(payload), type } as unknown as JobEvent;
}

/** In place: bytes are decoded as a Buffer, but code that is replayed has to get what it got first. */
export function withPlainBytes<T extends object>(container: T): T {
  for (const [key, value] of Object.entries(container)) {
    if (value instanceof Uint8Array) Object.assign(container, { [key]: Uint8Array.from(value) });
    else if (typeof value === "object" && value !== null) withPlainBytes(value);
  }
  return container;
}

function isOf(field: Field, value: unknown): boolean {
  switch (field) {
    case "text":
      return typeof value === "string";
    case "text?":
      return value === undefined || typeof value === "string";
    case "number":
      return typeof value === "number";
    case "flag?":
      return value === undefined || typeof value === "boolean";
    case "number?":
      return value === undefined || typeof value === "number";
    case "flag":
      return typeof value === "boolean";
    case "texts":
      return Array.isArray(value) && value.every((item) => typeof item === "string");
    case "record?":
      return value === undefined || isOf("record", value);
    case "record":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "any":
      return true;
    case "blob?":
      return value === undefined || blobRefSchema.safeParse(value).success;
    default:
      return unreachable(field);
  }
}

function damaged(type: JobEventType, reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `an event "${type}" of a job cannot be read: ${reason}`);
}

// Owns: what webhooks are told of a job: which events of its log, the row that is written in the transaction of the
// event, what is sent, and what is kept of what could not be told. Does not own: sending it (jobs/webhooks).
//
// What is sent names things and says how they stand. Inputs, results, questions and error texts are not in it: whoever
// gets it asks a node, with credentials.
import { z } from "zod";
import { sha256 } from "../../../base/digest.ts";
import { parseStored } from "../../../base/stored-row.ts";
import { MINUTE_MS, SECOND_MS } from "../../../base/units.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import { formatKey } from "../../../kvstore/core/key.ts";
import type { Op } from "../../../kvstore/core/schema.ts";
import type { Transition } from "../../ports.ts";
import { parseUid, type JobUid } from "../ids.ts";
import type { JobEvent } from "../log/event.ts";

/**
 * `approval`: a person is asked. `unknown`: a person has to find out what became of a call. `budget`: what the job may
 * spend does not suffice. `stuck`: a person has to look. `ended`: completed, failed or cancelled.
 */
export const NOTICE_EVENTS = ["approval", "unknown", "budget", "stuck", "ended"] as const;
export type NoticeEvent = (typeof NOTICE_EVENTS)[number];

/** Which events a webhook wants. */
export interface NoticeRule {
  readonly name: string;
  readonly events: readonly NoticeEvent[];
  /** Of all agents when absent. */
  readonly agents?: readonly string[];
}

/** What an event says, as far as others are told. */
interface Told {
  readonly event: NoticeEvent;
  /** The call that asks. */
  readonly call?: string;
  /** How the job has ended. */
  readonly status?: "completed" | "failed" | "cancelled";
  /** Code of the error that it failed with. */
  readonly code?: string;
}

/** The value of `job-notices/…`: goes as soon as it has been told, or given up. */
export interface NoticeRow extends Told {
  readonly uid: JobUid;
  readonly agent: string;
  readonly tenant: string;
  /** Wall time of the event. */
  readonly atMs: number;
  /** Times that it could not be told. */
  readonly tries: number;
  /** Wall time from which on it is tried again; 0 before the first time. */
  readonly nextMs: number;
}

/** The value of `job-data/…/untold`. */
export interface UntoldRow {
  readonly count: number;
  /** The latest, see `UNTOLD_KEPT`. */
  readonly last: readonly Untold[];
}

export interface Untold {
  readonly hook: string;
  readonly event: NoticeEvent;
  readonly seq: number;
  readonly atMs: number;
  readonly reason: string;
}

/** Operations that the end of a job leaves free: each webhook is told of it. */
export const NOTICES_RESERVED = 16;
/** Then it is given up. */
export const NOTICE_TRIES_MAX = 5;
/** What is kept of one job. */
export const UNTOLD_KEPT = 16;
const REASON_LENGTH_MAX = 200;
/** After the first failure, the second, and so on. */
const PAUSES_MS = [2 * SECOND_MS, 10 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS] as const;

const toldSchema = z.object({
  event: z.enum(NOTICE_EVENTS),
  call: z.string().exactOptional(),
  status: z.enum(["completed", "failed", "cancelled"]).exactOptional(),
  code: z.string().exactOptional(),
});
const noticeSchema: z.ZodType<NoticeRow> = toldSchema.extend({
  uid: z.string().transform((text): JobUid => parseUid(text) as JobUid),
  agent: z.string(),
  tenant: z.string(),
  atMs: z.number(),
  tries: z.int().min(0),
  nextMs: z.number(),
});
const untoldSchema: z.ZodType<UntoldRow> = z.object({
  count: z.int().min(0),
  last: z.array(z.object({
    hook: z.string(), event: z.enum(NOTICE_EVENTS), seq: z.int(), atMs: z.number(), reason: z.string(),
  })),
});

/** @throws AetherError E_DATA_CORRUPT */
export function parseNoticeRow(value: unknown): NoticeRow {
  return parseStored(noticeSchema, value, "what a webhook is to be told of a job");
}

/** @throws AetherError E_DATA_CORRUPT */
export function parseUntoldRow(value: unknown): UntoldRow {
  return parseStored(untoldSchema, value, "what webhooks could not be told of a job");
}

/** What a transition adds for those webhooks that want to hear of it. */
export function noticeOps(transition: Transition, rules: readonly NoticeRule[], atMs: number): readonly Op[] {
  if (rules.length === 0) return [];
  const { events, next: { ref, row: { agent, tenant, run }, head, spec } } = transition;
  // Nobody waits any more for what a run has asked that is over; the head is that of the next one.
  if (events.at(-1)?.type === "job.continued") return [];
  const firstSeq = head.seq - events.length + 1;
  return events.flatMap((event, index): Op[] => {
    const told = toldOf(event);
    if (told === undefined) return [];
    const value: NoticeRow = { ...told, uid: spec.uid, agent, tenant, atMs, tries: 0, nextMs: 0 };
    return rules.filter((rule) => wants(rule, told.event, agent)).map(({ name: hook }): Op => {
      const key = formatKey({ kind: "job-notice", ...ref, run, seq: firstSeq + index, hook });
      return { kind: "put", key, value };
    });
  });
}

function wants({ events, agents }: NoticeRule, event: NoticeEvent, agent: string): boolean {
  return events.includes(event) && (agents === undefined || agents.includes(agent));
}

function toldOf(event: JobEvent): Told | undefined {
  switch (event.type) {
    case "approval.requested":
      return { event: "approval", call: event.call };
    case "job.waiting": {
      const { reason } = event;
      return reason === "unknown" || reason === "stuck" || reason === "budget" ? { event: reason } : undefined;
    }
    case "job.completed":
      return { event: "ended", status: "completed" };
    case "job.failed": {
      const { code } = event.error;
      return { event: "ended", status: "failed", ...(code !== undefined && { code }) };
    }
    case "job.cancelled":
      return { event: "ended", status: "cancelled" };
    default:
      return undefined;
  }
}

/** Which event of which job a notice is about. */
export interface NoticePlace extends JobRef {
  readonly run: number;
  readonly seq: number;
}

/** The same for the same event, however often it is told; another one for another job of the same id. */
export function noticeId({ job, run, seq }: NoticePlace, { uid }: Pick<NoticeRow, "uid">): string {
  return sha256(`aether-notice\n${job}\n${uid}\n${run}\n${seq}`);
}

/** What is sent, as JSON. */
export function noticeBody(place: NoticePlace, row: NoticeRow): string {
  const { event, agent, tenant, atMs, call, status, code } = row;
  return JSON.stringify({
    v: 1,
    id: noticeId(place, row),
    event,
    job: place.job,
    agent,
    tenant,
    atMs,
    run: place.run,
    seq: place.seq,
    ...(call !== undefined && { call }),
    ...(status !== undefined && { status }),
    ...(code !== undefined && { code }),
    path: `/v1/jobs/${place.job}`,
  });
}

/** The row after one more failure; undefined when it is given up now. */
export function noticeAfterFailure(row: NoticeRow, nowMs: number): NoticeRow | undefined {
  const tries = row.tries + 1;
  const pauseMs = pauseAfter(tries);
  return pauseMs === undefined ? undefined : { ...row, tries, nextMs: nowMs + pauseMs };
}

/** Before it is tried again that failed so often; undefined: it is given up. */
export function pauseAfter(tries: number): number | undefined {
  return tries >= NOTICE_TRIES_MAX ? undefined : PAUSES_MS[tries - 1];
}

export function untoldAfter(before: UntoldRow | undefined, untold: Untold): UntoldRow {
  const { count, last } = before ?? { count: 0, last: [] };
  const kept = { ...untold, reason: untold.reason.slice(0, REASON_LENGTH_MAX) };
  return { count: count + 1, last: [...last, kept].slice(-UNTOLD_KEPT) };
}

// Owns: which approvals ONE job waits for, by its log, and the rows that follow from each event of one: what is listed
// for people, and the timer of its time. Does not own: decisions, and times that are over (inbox-writer, timer-driver):
// they take the row away themselves, so that there is one order of them.
import { formatKey } from "../../../kvstore/core/key.ts";
import type { JobRef } from "../../../kvstore/core/job-key.ts";
import type { Op } from "../../../kvstore/core/schema.ts";
import { APPROVALS_OPEN_MAX, approvalValue, type ApprovalRow } from "../flow/approval-row.ts";
import type { CallName } from "../ids.ts";
import { approvalKey } from "../life/job-keys.ts";
import type { JobEvent } from "../log/event.ts";

type Requested = Extract<JobEvent, { readonly type: "approval.requested" }>;

export interface ApprovalPlace {
  readonly ref: JobRef;
  readonly agent: string;
  /** Wall time. */
  readonly atMs: number;
}

export class OpenApprovals {
  /** All that the log has asked for, with those that are over. */
  private readonly requested = new Set<CallName>();
  private readonly open = new Map<CallName, number | undefined>();

  constructor(events: readonly JobEvent[] = []) {
    this.note(events);
  }

  /** Whether the log has asked for it already. */
  has(call: CallName): boolean {
    return this.requested.has(call);
  }

  /** How many more may be asked for. */
  get room(): number {
    return APPROVALS_OPEN_MAX - this.open.size;
  }

  /** These events are in the log. */
  note(events: readonly JobEvent[]): void {
    for (const event of events) this.noteOne(event);
  }

  /** The rows that go with these events; `isEnd`: the job ends with them. */
  changes(events: readonly JobEvent[], place: ApprovalPlace, isEnd: boolean): readonly Op[] {
    const requested = events.flatMap((event): readonly (readonly [CallName, Requested])[] =>
      event.type === "approval.requested" ? [[event.call, event]] : []);
    const decided = new Set(events.flatMap((event) => (event.type === "approval.decided" ? [event.call] : [])));
    // After a cancel the code waits for nobody.
    const isOver = isEnd || events.some(({ type }) => type === "job.cancel-requested");
    const closed = [...this.open].filter(([call]) => isOver || decided.has(call));
    return [
      ...(isOver ? [] : requested.flatMap(([call, event]) => this.opened(call, event, place))),
      ...closed.flatMap(([call, untilMs]) => closing(call, untilMs, place)),
    ];
  }

  private opened(call: CallName, event: Requested, { ref, agent, atMs }: ApprovalPlace): readonly Op[] {
    const { type: _type, call: _call, ...shown } = event;
    const row: ApprovalRow = { agent, ...shown, requestedMs: atMs };
    const put: Op = { kind: "put", key: approvalKey(ref, call), value: approvalValue(row) };
    if (event.untilMs === undefined) return [put];
    return [put, { kind: "put", key: timerKey(ref, call, event.untilMs), value: { call } }];
  }

  private noteOne(event: JobEvent): void {
    switch (event.type) {
      case "approval.requested":
        this.requested.add(event.call);
        return void this.open.set(event.call, event.untilMs);
      case "approval.decided":
      case "timer.fired":
        return void this.open.delete(event.call);
      case "job.cancel-requested":
        return this.open.clear();
      default:
        return;
    }
  }
}

function closing(call: CallName, untilMs: number | undefined, { ref }: ApprovalPlace): readonly Op[] {
  const row: Op = { kind: "delete", key: approvalKey(ref, call) };
  return untilMs === undefined ? [row] : [row, { kind: "delete", key: timerKey(ref, call, untilMs) }];
}

function timerKey(ref: JobRef, call: CallName, dueMs: number): Op["key"] {
  return formatKey({ kind: "job-timer", ...ref, dueMs, name: call });
}

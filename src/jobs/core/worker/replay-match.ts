// Owns: what a log says the code of an agent was given, in which order, and whether the code does now what it did then.
// Does not own: giving it to the code (worker/agent-run.ts).
//
// Code gets one value after the other, in the order of the log, as it did when the log was written: with the same
// values in the same order it makes the same calls.
import { unreachable } from "../../../base/assert.ts";
import { AetherError } from "../../../base/errors.ts";
import type { Digest } from "../../../base/ids.ts";
import type { CallName } from "../ids.ts";
import { endOf, type JobEvent } from "../log/event.ts";
import { apart, type Apart } from "../payloads/blob.ts";
import type { JobError } from "../rows.ts";

export type CallKind = "step" | "tool" | "sleep" | "signal" | "approval" | "child" | "value";

/**
 * What the code of an agent is given: each is one of the log's events, also when it is new. What is stored apart has to
 * be fetched first.
 */
export type Delivery =
  | ({ readonly kind: "value"; readonly call: CallName; readonly value: unknown } & Apart)
  | { readonly kind: "error"; readonly call: CallName; readonly error: JobError }
  | ({ readonly kind: "result"; readonly call: CallName; readonly result: unknown; readonly problem?: string } & Apart)
  | ({ readonly kind: "signal"; readonly call: CallName; readonly payload: unknown } & Apart)
  | { readonly kind: "timer"; readonly call: CallName }
  | ({ readonly kind: "child"; readonly call: CallName; readonly output: unknown } & Apart)
  | {
    readonly kind: "decided";
    readonly call: CallName;
    readonly approved: boolean;
    readonly principal: string;
    readonly data: unknown;
  }
  /** A person has said that the job is to fail. */
  | { readonly kind: "given-up"; readonly call: CallName; readonly reason: string }
  | { readonly kind: "cancel" };

export interface MadeCall {
  readonly call: CallName;
  readonly kind: CallKind;
  /** Of the input of a tool or of a child, or of what people are shown. */
  readonly inputDigest?: Digest;
}

/** What the log has of a call that the code makes. */
export type Found =
  /** It gets a value in its turn, or is to be begun once all of the log was given. */
  | { readonly kind: "same" }
  | { readonly kind: "diverged"; readonly error: AetherError };

interface Recorded {
  /** Number of the first event of the call. */
  readonly seq: number;
  readonly what: string;
  /** Kinds of calls that it can be of. */
  readonly kinds: readonly CallKind[];
  readonly inputDigest?: Digest;
}

/** What a divergence says of the place in the log, in the details of its error. */
interface DivergedAt {
  readonly seq: number;
  readonly expectedDigest?: Digest;
  readonly foundDigest?: Digest;
}

interface PlacedDelivery {
  readonly seq: number;
  readonly delivery: Delivery;
}

export class ReplayMatch {
  /** The log has the end of its job. */
  readonly hasEnded: boolean;
  private readonly deliveries: readonly PlacedDelivery[];
  private readonly open = new Set<CallName>();
  private readonly recorded = new Map<CallName, Recorded>();
  private readonly values = new Map<CallName, unknown>();
  private readonly dueTimes = new Map<CallName, number>();
  private readonly made = new Set<CallName>();
  /** Number of the event by which the job begins to do another one again. */
  private readonly repeatedAt: number;
  private given = 0;

  /** The whole log of a run of its job: its first event has the number 1. */
  constructor(events: readonly JobEvent[]) {
    for (const [index, event] of events.entries()) this.note(index + 1, event);
    this.deliveries = events.flatMap((event, index) =>
      deliveryOf(event).map((delivery) => ({ seq: index + 1, delivery })));
    const repeated = events.findIndex(({ type }) => type === "job.repeated");
    this.repeatedAt = repeated === -1 ? Infinity : repeated + 1;
    const last = events.at(-1);
    this.hasEnded = last !== undefined && endOf(last) !== undefined;
  }

  /** Everything that the log says was given is given: what comes from now on is new. */
  get isOver(): boolean {
    return this.given === this.deliveries.length;
  }

  call({ call, kind, inputDigest }: MadeCall): Found {
    const recorded = this.recorded.get(call);
    this.made.add(call);
    if (recorded === undefined) return SAME;
    if (!recorded.kinds.includes(kind)) {
      return { kind: "diverged", error: divergence(call, recorded.what, `made it a ${kind}`, recorded) };
    }
    if (inputDigest === undefined || recorded.inputDigest === undefined) return SAME;
    if (inputDigest === recorded.inputDigest) return SAME;
    const found = `called it with another input, of digest ${inputDigest}`;
    const expected = `${recorded.what} with an input of digest ${recorded.inputDigest}`;
    const at = { seq: recorded.seq, expectedDigest: recorded.inputDigest, foundDigest: inputDigest };
    return { kind: "diverged", error: divergence(call, expected, found, at) };
  }

  /**
   * The value that code got at once. `same` when it is to get a new one: all that the log has is given, or what is left
   * of it the code hears of earlier than in the job that this one does again, where it asked for it after all of that.
   */
  value(call: CallName): { readonly kind: "recorded"; readonly value: unknown } | Found {
    const found = this.call({ call, kind: "value" });
    if (found.kind === "diverged") return found;
    if (this.values.has(call)) return { kind: "recorded", value: this.values.get(call) };
    const next = this.deliveries[this.given];
    if (next === undefined || next.seq > this.repeatedAt) return SAME;
    return { kind: "diverged", error: divergence(call, "nothing of that name there", "asked for it", next) };
  }

  /** Whether the log has a call of a tool, and not what became of it. */
  isOpen(call: CallName): boolean {
    return this.open.has(call);
  }

  /** When a wait ends, if the log says so. */
  dueMs(call: CallName): number | undefined {
    return this.dueTimes.get(call);
  }

  /** What the code is given next; undefined when that is over, or the code is not there yet. */
  get ahead(): Delivery | undefined {
    const delivery = this.deliveries[this.given]?.delivery;
    return delivery === undefined || !this.isWanted(delivery) ? undefined : delivery;
  }

  /** Takes what is ahead. */
  next(): Delivery | undefined {
    const delivery = this.ahead;
    if (delivery !== undefined) this.given += 1;
    return delivery;
  }

  /**
   * What the code should have asked for and has not, now that it does nothing more by itself: the next value, or a call
   * that the log says was begun.
   */
  missing(): CallName | undefined {
    const delivery = this.deliveries[this.given]?.delivery;
    if (delivery !== undefined) {
      return delivery.kind === "cancel" || this.isWanted(delivery) ? undefined : delivery.call;
    }
    for (const call of this.recorded.keys()) if (!this.made.has(call)) return call;
    return undefined;
  }

  /** The error for a call that is missing; `found` says what the code does instead. */
  missed(call: CallName, found: string): AetherError {
    const { what, seq } = this.recorded.get(call) ?? { what: "a call", seq: this.deliveries[this.given]?.seq ?? 0 };
    return divergence(call, what, found, { seq });
  }

  private isWanted(delivery: Delivery): boolean {
    return delivery.kind === "cancel" || this.made.has(delivery.call);
  }

  private note(seq: number, event: JobEvent): void {
    const recorded = recordedOf(event);
    if (recorded === undefined) return;
    const { call, ...rest } = recorded;
    // The first says most: a wait's timer is of either kind, what became of a tool follows its grant.
    const before = this.recorded.get(call);
    if (before === undefined || before.kinds.length > rest.kinds.length) {
      this.recorded.set(call, { ...rest, seq: before?.seq ?? seq });
    }
    if (isBegin(event)) this.open.add(call);
    if (isOutcome(event)) this.open.delete(call);
    if (event.type === "value.recorded") this.values.set(call, event.value);
    if (event.type === "timer.set") this.dueTimes.set(call, event.dueMs);
  }
}

const SAME = { kind: "same" } as const;
const WAITS: readonly CallKind[] = ["sleep", "signal", "approval", "child"];
const CALLS: readonly CallKind[] = ["step", "tool", "sleep", "signal", "approval", "child"];

function isBegin({ type }: JobEvent): boolean {
  return type === "tool.granted" || type === "tool.doubted";
}

function isOutcome({ type }: JobEvent): boolean {
  return type === "tool.succeeded" || type === "tool.failed" || type === "tool.resolved";
}

function recordedOf(event: JobEvent): (Omit<Recorded, "seq"> & { readonly call: CallName }) | undefined {
  switch (event.type) {
    case "step.completed":
      return { call: event.call, what: "a step", kinds: ["step"] };
    case "step.failed":
      // What the node refuses of any call is recorded so.
      return { call: event.call, what: "a call that failed", kinds: CALLS };
    case "value.recorded":
      return { call: event.call, what: "a time", kinds: ["value"] };
    case "tool.granted":
    case "tool.doubted":
      return { call: event.call, what: `the tool ${event.tool}`, kinds: ["tool"], inputDigest: event.inputDigest };
    case "tool.succeeded":
    case "tool.failed":
    case "tool.unknown":
    case "tool.resolved":
      return { call: event.call, what: "a tool", kinds: ["tool"] };
    case "timer.set":
    case "timer.fired":
      return { call: event.call, what: "a wait", kinds: WAITS };
    case "signal.received":
      return { call: event.call, what: `the signal ${event.signal}`, kinds: ["signal"] };
    case "child.started": {
      const { call, agent, inputDigest } = event;
      return { call, what: `a child of the agent ${agent}`, kinds: ["child"], inputDigest };
    }
    case "approval.requested": {
      const { call, name, shown: inputDigest } = event;
      return { call, what: `the approval ${name}`, kinds: ["approval"], inputDigest };
    }
    case "approval.decided":
      return { call: event.call, what: "an approval", kinds: ["approval"] };
    case "child.completed":
    case "child.failed":
    case "child.detached":
      return { call: event.call, what: "a child", kinds: ["child"] };
    default:
      return undefined;
  }
}

function deliveryOf(event: JobEvent): readonly Delivery[] {
  switch (event.type) {
    case "step.completed":
      return [{ kind: "value", call: event.call, value: event.value, ...apart(event) }];
    case "child.completed":
      return [{ kind: "child", call: event.call, output: event.output, ...apart(event) }];
    case "child.detached":
      return [{ kind: "child", call: event.call, output: { id: event.job } }];
    case "step.failed":
    case "tool.failed":
    case "child.failed":
      return [{ kind: "error", call: event.call, error: event.error }];
    case "tool.succeeded": {
      const { call, result, problem } = event;
      return [{ kind: "result", call, result, ...(problem === undefined ? {} : { problem }), ...apart(event) }];
    }
    case "tool.resolved":
      return resolutionOf(event);
    case "timer.fired":
      return [{ kind: "timer", call: event.call }];
    case "signal.received":
      return [{ kind: "signal", call: event.call, payload: event.payload, ...apart(event) }];
    case "approval.decided": {
      const { call, approved, principal, data } = event;
      return [{ kind: "decided", call, approved, principal, data }];
    }
    case "job.cancel-requested":
      return [{ kind: "cancel" }];
    default:
      return [];
  }
}

function resolutionOf(event: Extract<JobEvent, { readonly type: "tool.resolved" }>): readonly Delivery[] {
  const { call, resolution, problem } = event;
  switch (resolution.kind) {
    case "done":
      return [{
        kind: "result", call, result: resolution.result, ...(problem !== undefined && { problem }), ...apart(event),
      }];
    case "given-up":
      return [{ kind: "given-up", call, reason: resolution.reason }];
    case "not-done":
      // It is made again.
      return [];
    default:
      return unreachable(resolution);
  }
}

function divergence(
  call: CallName, expected: string, found: string, { seq, expectedDigest, foundDigest }: DivergedAt,
): AetherError {
  const message = `the code of the agent does not do what its log says: the log has ${expected} as "${call}", the ` +
    `code ${found}; let its code depend on nothing but its input and what job.… answers`;
  const digests = expectedDigest === undefined ? {} : { expectedDigest, foundDigest };
  return new AetherError("E_NONDETERMINISM", message, {
    details: { call, seq, expected, found, ...digests }, outcome: "not-applied",
  });
}

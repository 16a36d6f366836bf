// Owns: what the code of one run waits for, which entry of the inbox or timer ends which wait, and whether the job can
// do without an owner meanwhile. Does not own: what becomes of an entry in the log (run-batch.ts).
import type { Digest } from "../../../base/ids.ts";
import type { CallName, EffectId } from "../ids.ts";
import { decode } from "../../../base/codec.ts";
import type { JobId } from "../../../base/ids.ts";
import { SECOND_MS } from "../../../base/units.ts";
import type { Amount } from "../budget/account.ts";
import { BUDGET_WAKE, CHILD_WAKE, type InboxEntry, type ResolveEntry } from "../flow/inbox-entry.ts";
import type { CancelReason, Resolution, Resolver } from "../log/event.ts";
import { apart, type BlobRef } from "../payloads/blob.ts";
import { WAKES_MAX, type JobError, type Waiting, type WaitReason } from "../rows.ts";
import type { AgentWait, OfferedEntry } from "../worker/messages.ts";
import type { Child } from "../life/children.ts";

/** Waits up to this long keep the job's owner: leaving it and coming back costs two transactions and a replay. */
export const OWNED_WAIT_MS_MAX = 5 * SECOND_MS;

/** The end of a child that is quick enough finds its parent where it was. */
export const CHILD_WAIT_MS_MAX = SECOND_MS;

/** What stands behind an offer to the worker: what becomes of it when it is taken. */
export interface Offered {
  /** The number of the entry in the inbox; absent for what its owner found by itself. */
  readonly inbox?: number;
  readonly what:
    | { readonly kind: "timer"; readonly call: CallName }
    | {
      readonly kind: "signal";
      readonly call: CallName;
      readonly signal: string;
      readonly payload: unknown;
      readonly blob?: BlobRef;
    }
    | { readonly kind: "child-detached"; readonly call: CallName; readonly job: JobId }
    | {
      readonly kind: "child-completed";
      readonly call: CallName;
      readonly output: unknown;
      readonly spent?: Amount;
      readonly blob?: BlobRef;
    }
    | { readonly kind: "child-failed"; readonly call: CallName; readonly error: JobError; readonly spent?: Amount }
    | {
      readonly kind: "decided";
      readonly call: CallName;
      readonly approved: boolean;
      readonly principal: string;
      readonly data: unknown;
    }
    | { readonly kind: "cancel"; readonly principal: string; readonly reason?: CancelReason }
    | {
      readonly kind: "resolved";
      readonly call: CallName;
      readonly effectId: EffectId;
      readonly resolution: Resolution;
      readonly by: Resolver;
    };
}

export interface NewOffer extends Offered {
  readonly offer: number;
  readonly call?: CallName;
  readonly entry: OfferedEntry;
}

/** An entry of the inbox that nobody is going to want. */
export interface Unwanted {
  readonly n: number;
  readonly entry: InboxEntry;
}

export interface TimerToSet {
  readonly dueMs: number;
  readonly name: string;
  readonly call: CallName;
}

/** How a job is left. */
export interface Leave {
  readonly waiting: Waiting;
  readonly timers: readonly TimerToSet[];
}

/** The calls of tools as far as waits are concerned. */
export interface CallsInDoubt {
  /** The call that has this effect, while the code waits for it and nobody knows its outcome. */
  callOf(effect: EffectId): CallName | undefined;
  /** Calls that only a person can settle. */
  readonly forPeople: ReadonlySet<EffectId>;
  /** Calls that are under way, or that their tool is asked about. */
  readonly busy: number;
  /** Why calls wait for more budget, each for a person. */
  readonly shortages: readonly string[];
}

interface OpenWait {
  readonly kind: "timer" | "signal" | "approval" | "child";
  readonly signal?: string;
  /** Of an approval: digest of what people are shown. */
  readonly shown?: Digest;
  readonly dueMs?: number;
  /** Of a child that nobody waits for: the code is told this id. */
  readonly detached?: JobId;
  /** Until then the job keeps its owner. */
  readonly staysUntilMs?: number;
}

/** A child that was started. */
export interface StartedWait extends Pick<Child, "job" | "isDetached"> {
  readonly dueMs?: number;
}

export class RunWaits {
  private readonly waits = new Map<CallName, OpenWait>();
  private readonly unread = new Map<number, InboxEntry>();
  /** Offers that the worker has not taken, and the entries they are made of. */
  private readonly offers = new Map<number, Offered>();
  private readonly offeredCalls = new Set<CallName>();
  private readonly offeredEntries = new Set<number>();
  private lastOffer = 0;
  private isCancelling: boolean;

  /** `isCancelled`: the log has a cancel, and there is no other one. */
  constructor(isCancelled = false) {
    this.isCancelling = isCancelled;
  }

  /** `dueMs` is what the log says where it has the timer already. */
  open(call: CallName, wait: AgentWait, loggedDueMs?: number): void {
    const wanted = wait.kind === "timer" ? wait.dueMs : wait.untilMs;
    const dueMs = loggedDueMs ?? wanted;
    this.waits.set(call, { ...openWait(wait), ...(dueMs === undefined ? {} : { dueMs }) });
  }

  /** The child of this call has been started, now or before. */
  openChild(call: CallName, { job, isDetached, dueMs }: StartedWait, nowWallMs: number): void {
    this.waits.set(call, {
      kind: "child",
      ...(dueMs !== undefined && { dueMs }),
      ...(isDetached ? { detached: job } : { staysUntilMs: nowWallMs + CHILD_WAIT_MS_MAX }),
    });
  }

  arrive(n: number, entry: InboxEntry): void {
    this.unread.set(n, entry);
  }

  /** Numbers of the entries that nobody has taken. */
  get unreadEntries(): readonly number[] {
    return [...this.unread.keys()].sort((a, b) => a - b);
  }

  /** What can be given to the code now. Each is given once. */
  offer(nowWallMs: number, calls: CallsInDoubt): readonly NewOffer[] {
    const made: NewOffer[] = [];
    for (const n of this.unreadEntries) {
      const entry = this.unread.get(n);
      if (entry === undefined || this.offeredEntries.has(n)) continue;
      const offered = this.match(entry, calls);
      if (offered === undefined) continue;
      this.offeredEntries.add(n);
      made.push(this.make({ inbox: n, what: offered }));
    }
    for (const [call, { detached: job }] of this.waits) {
      if (job === undefined || this.offeredCalls.has(call)) continue;
      made.push(this.make({ what: { kind: "child-detached", call, job } }));
    }
    for (const [call, { dueMs }] of this.ownTimers) {
      if (dueMs > nowWallMs || this.offeredCalls.has(call)) continue;
      made.push(this.make({ what: { kind: "timer", call } }));
    }
    return made;
  }

  /** An answer that the owner got by itself. */
  offerResolved(what: Extract<Offered["what"], { readonly kind: "resolved" }>): NewOffer {
    return this.make({ what });
  }

  /** The worker has taken it: the wait is over. */
  took(offer: number): void {
    const offered = this.offers.get(offer);
    if (offered === undefined) return;
    this.offers.delete(offer);
    if (offered.inbox !== undefined) this.unread.delete(offered.inbox);
    const { what } = offered;
    if (what.kind === "cancel") return this.endWaits();
    this.waits.delete(what.call);
    this.offeredCalls.delete(what.call);
  }

  /**
   * Entries that nobody is going to want: of timers whose wait is over, of calls whose outcome is known, a second
   * cancel. To be asked when the code cannot go on by itself. They are forgotten here.
   */
  takeUnwanted(calls: CallsInDoubt): readonly Unwanted[] {
    const unwanted = this.unreadEntries.flatMap((n): readonly Unwanted[] => {
      const entry = this.unread.get(n);
      const isTaken = entry === undefined || this.offeredEntries.has(n) || !this.isUnwanted(entry, calls);
      return isTaken ? [] : [{ n, entry }];
    });
    for (const { n } of unwanted) this.unread.delete(n);
    return unwanted;
  }

  /** What people have said of calls, to be taken without code that waits for it. They are forgotten here. */
  takeResolutions(): readonly { readonly inbox: number; readonly entry: ResolveEntry }[] {
    const said = this.unreadEntries.flatMap((inbox) => {
      const entry = this.unread.get(inbox);
      return entry?.kind === "resolve" ? [{ inbox, entry }] : [];
    });
    for (const { inbox } of said) this.unread.delete(inbox);
    return said;
  }

  /** When the next timer is due that the owner fires by itself, by the wall clock. */
  get nextDueMs(): number | undefined {
    return earliest(this.ownTimers.flatMap(([call, { dueMs }]) => (this.offeredCalls.has(call) ? [] : [dueMs])));
  }

  /** When a timer is due, or the job may be left that keeps its owner for now; by the wall clock. */
  nextLookMs(nowWallMs: number): number | undefined {
    const soonest = [...this.waits.values()].reduce((least, { staysUntilMs = 0 }) =>
      staysUntilMs > nowWallMs ? Math.min(least, staysUntilMs) : least, this.nextDueMs ?? Number.POSITIVE_INFINITY);
    return Number.isFinite(soonest) ? soonest : undefined;
  }

  /** How the job can be left; undefined when it has to keep its owner. To be asked when the code is idle. */
  leave(nowWallMs: number, calls: CallsInDoubt): Leave | undefined {
    const isBusy = this.offers.size > 0 || calls.busy > 0;
    const { forPeople, shortages } = calls;
    if (isBusy || this.waits.size + forPeople.size + shortages.length === 0) return undefined;
    const soon = this.nextDueMs;
    if (soon !== undefined && soon - nowWallMs <= OWNED_WAIT_MS_MAX) return undefined;
    if ([...this.waits.values()].some(({ staysUntilMs = 0 }) => staysUntilMs > nowWallMs)) return undefined;
    const timers = this.ownTimers.map(([call, { dueMs }]) => ({ dueMs, name: call, call }));
    const untilMs = earliest([...this.waits.values()].flatMap(({ dueMs }) => (dueMs === undefined ? [] : [dueMs])));
    const isShort = shortages.length > 0;
    // The end of a child may free what it has not spent.
    const forBudget = isShort ? [BUDGET_WAKE, CHILD_WAKE] : [];
    const on = [...new Set([...forBudget, ...[...this.waits].flatMap(wakesOf)])];
    // More of it keeps the owner.
    if (on.length > WAKES_MAX) return undefined;
    const kinds = new Set([...this.waits.values()].map(({ kind }) => kind));
    const reason = forPeople.size > 0 ? "unknown" : isShort ? "budget" : reasonOf(kinds);
    const [why] = reason === "budget" ? shortages : [];
    const more = { ...(untilMs === undefined ? {} : { untilMs }), ...(why === undefined ? {} : { why }) };
    return { waiting: { reason, on, ...more }, timers };
  }

  /**
   * Without those of approvals: their timers are in the store from the beginning, and fire by it alone. A decision that
   * was taken is so never overtaken by a time that is over for its owner only.
   */
  private get ownTimers(): readonly (readonly [CallName, { readonly dueMs: number }])[] {
    return [...this.waits].flatMap(([call, { kind, dueMs }]) =>
      kind === "approval" || dueMs === undefined ? [] : [[call, { dueMs }] as const]);
  }

  /** The call is over by itself: what was offered to it is taken by nobody. */
  callEnded(call: CallName): void {
    this.withdraw((what) => what.kind !== "cancel" && what.call === call);
  }

  /** A cancel fails every wait of the code. */
  private endWaits(): void {
    this.withdraw(({ kind }) => kind !== "resolved");
    this.waits.clear();
  }

  private withdraw(isVoid: (what: Offered["what"]) => boolean): void {
    for (const [offer, { inbox, what }] of this.offers) {
      if (what.kind === "cancel" || !isVoid(what)) continue;
      this.offers.delete(offer);
      this.offeredCalls.delete(what.call);
      if (inbox !== undefined) this.offeredEntries.delete(inbox);
    }
  }

  private match(entry: InboxEntry, calls: CallsInDoubt): Offered["what"] | undefined {
    switch (entry.kind) {
      case "signal": {
        const call = this.waitFor(entry.signal);
        return call === undefined
          ? undefined
          : { kind: "signal", call, signal: entry.signal, payload: entry.payload, ...apart(entry) };
      }
      case "timer":
        return this.waits.has(entry.call) && !this.offeredCalls.has(entry.call)
          ? { kind: "timer", call: entry.call }
          : undefined;
      case "cancel":
        if (this.isCancelling) return undefined;
        this.isCancelling = true;
        return entry;
      case "resolve": {
        const call = calls.callOf(entry.effect);
        if (call === undefined || this.offeredCalls.has(call)) return undefined;
        const { effect: effectId, resolution, principal } = entry;
        return { kind: "resolved", call, effectId, resolution, by: { kind: "person", principal } };
      }
      case "child-completed":
        return this.isChild(entry.call)
          ? { ...entry, output: decode(entry.output, entry.output.byteLength) }
          : undefined;
      case "child-failed":
        return this.isChild(entry.call) ? entry : undefined;
      case "decision": {
        const { call, shown, approved, principal, data } = entry;
        if (!this.isAsked(call, shown) || this.offeredCalls.has(call)) return undefined;
        return { kind: "decided", call, approved, principal, data };
      }
      case "release":
      case "raise":
      case "hold":
        return undefined;
    }
  }

  private isChild(call: CallName): boolean {
    return this.waits.get(call)?.kind === "child" && !this.offeredCalls.has(call);
  }

  private isUnwanted(entry: InboxEntry, calls: CallsInDoubt): boolean {
    switch (entry.kind) {
      case "signal":
        return false;
      case "timer":
      case "child-completed":
      case "child-failed":
        return !this.waits.has(entry.call);
      case "cancel":
        return this.isCancelling;
      case "resolve":
        return calls.callOf(entry.effect) === undefined;
      case "decision":
        return !this.isAsked(entry.call, entry.shown);
      case "release":
      case "raise":
      case "hold":
        return true;
    }
  }

  /** Whether the code waits for somebody to decide about just this. */
  private isAsked(call: CallName, shown: Digest): boolean {
    return this.waits.get(call)?.shown === shown;
  }

  private waitFor(signal: string): CallName | undefined {
    for (const [call, wait] of this.waits) {
      if (wait.kind === "signal" && wait.signal === signal && !this.offeredCalls.has(call)) return call;
    }
    return undefined;
  }

  private make(offered: Offered): NewOffer {
    const offer = ++this.lastOffer;
    this.offers.set(offer, offered);
    const { what } = offered;
    if (what.kind === "cancel") return { ...offered, offer, entry: { kind: "cancel" } };
    this.offeredCalls.add(what.call);
    return { ...offered, offer, call: what.call, entry: entryOf(what) };
  }
}

function entryOf(what: Exclude<Offered["what"], { readonly kind: "cancel" }>): OfferedEntry {
  switch (what.kind) {
    case "timer":
      return { kind: "timer-fired" };
    case "child-detached":
      return { kind: "child-detached", job: what.job };
    case "child-completed":
      return { kind: "child-completed", output: what.output, ...apart(what) };
    case "child-failed":
      return { kind: "child-failed", error: what.error };
    case "signal":
      return { kind: "signal", payload: what.payload, ...apart(what) };
    case "decided": {
      const { approved, principal, data } = what;
      return { kind: "decided", approved, principal, data };
    }
    case "resolved":
      return { kind: "tool-resolved", resolution: what.resolution };
  }
}

function openWait(wait: AgentWait): OpenWait {
  switch (wait.kind) {
    case "timer":
      return { kind: "timer" };
    case "signal":
      return { kind: "signal", signal: wait.signal };
    case "approval":
      return { kind: "approval", shown: wait.shown };
  }
}

function earliest(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : Math.min(...times);
}

function wakesOf([call, { kind, signal, dueMs }]: readonly [CallName, OpenWait]): readonly string[] {
  return [
    ...(kind === "approval" ? [`approval:${call}`] : []),
    ...(signal === undefined ? [] : [`signal:${signal}`]),
    ...(kind === "child" ? [CHILD_WAKE] : []),
    ...(dueMs === undefined ? [] : [`call:${call}`]),
  ];
}

/** What is most worth knowing of several waits: what needs somebody goes first. */
function reasonOf(kinds: ReadonlySet<OpenWait["kind"]>): WaitReason {
  if (kinds.has("approval")) return "approval";
  return kinds.has("signal") ? "signal" : kinds.has("child") ? "child" : "timer";
}

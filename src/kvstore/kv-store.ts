// Owns: the store as its callers know it: proposes transactions, reads linearizably or locally, deadlines, aborts.
// Does not own: the state (kv-state.ts) and agreement (consensus).
import { unreachable } from "../base/assert.ts";
import { AetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Group, ReadOutcome } from "../consensus/group.ts";
import {
  abortedBefore,
  toApplied,
  toTxnOutcome,
  writeAborted,
  writeTimeout,
  type Applied,
  type AppliedResult,
  type TxnOutcome,
} from "./command-outcome.ts";
import { encodeQuota } from "./core/command.ts";
import type { KeyText } from "./core/key.ts";
import type { LeaseId, Txn, TxnResult } from "./core/schema.ts";
import { encodeTxn } from "./core/txn.ts";
import type {
  GrantedLease,
  Kv,
  KvCallOptions,
  KvGetOptions,
  KvListQuery,
  KvPage,
  KvPrefixes,
  KvRead,
  KvReadOptions,
  KvWatch,
  KvWatchHandlers,
  KvWatchOptions,
  KvWriteOptions,
  LeaseGrant,
  LeaseInfo,
  Leases,
  StoreQuota,
  StoreUsage,
} from "./kv.ts";
import { KvHistory } from "./kv-history.ts";
import type { KvState } from "./kv-state.ts";
import { LeaseCalls } from "./lease-calls.ts";
import { PastReads } from "./past-reads.ts";
import { ReadTurns } from "./read-turns.ts";
import { WatchHub } from "./watch-hub.ts";

const TIMEOUT_MS_DEFAULT = 5 * SECOND_MS;

export interface KvStorePorts {
  readonly group: Group;
  readonly state: KvState;
  readonly clock: Clock;
  /** In memory only when absent. */
  readonly history?: KvHistory;
}

export interface KvObservation {
  readonly watches: {
    readonly open: number;
    /** So many of them do not have everything that happened. */
    readonly behind: number;
    /** So many have ended by themselves, by the code of the reason. */
    readonly ended: ReadonlyMap<string, number>;
  };
  readonly history: { readonly oldestRevision: number; readonly memoryBytes: number; readonly diskBytes: number };
}

export class KvStore implements Kv, Leases, StoreQuota {
  private readonly group: Group;
  private readonly state: KvState;
  private readonly clock: Clock;
  private readonly hub: WatchHub;
  private readonly history: KvHistory;
  private readonly past: PastReads;
  private readonly leases: LeaseCalls;
  private readonly turns: ReadTurns;

  constructor({ group, state, clock, history = KvHistory.inMemory(state) }: KvStorePorts) {
    this.group = group;
    this.state = state;
    this.clock = clock;
    this.history = history;
    this.hub = new WatchHub(clock, history);
    this.past = new PastReads({ clock, state, history });
    this.turns = new ReadTurns(clock);
    this.leases = new LeaseCalls(clock, (command, options) => this.submit(command, options));
  }

  get revision(): number {
    return this.state.revision;
  }

  get oldestRevision(): number {
    return this.history.oldest;
  }

  async get(key: KeyText, options: KvGetOptions = {}): Promise<KvRead> {
    const { reader, revision } = options;
    const checkTime = this.timeOf(options);
    if (revision !== undefined) {
      await this.past.reach(revision, options);
      return this.inTurn(reader, checkTime, () => this.past.get(key, revision, options));
    }
    await this.reachConsistency(options);
    if (reader === undefined) return this.state.getLocal(key);
    return this.turns.entry(reader, () => {
      checkTime();
      return this.state.weighLocal(key);
    });
  }

  async list(query: KvListQuery, options: KvReadOptions = {}): Promise<KvPage> {
    const { revision } = query;
    const checkTime = this.timeOf(options);
    if (revision !== undefined && query.order === "descending") {
      const message = "keys are listed in descending order only as they are now: leave the revision out";
      throw new AetherError("E_INVALID", message);
    }
    if (revision === undefined) await this.reachConsistency(options);
    else await this.past.reach(revision, options);
    return this.inTurn(options.reader, checkTime, () =>
      revision === undefined ? this.state.listLocal(query) : this.past.list(query, revision, options),
    );
  }

  transact(txn: Txn, options: KvWriteOptions = {}): Promise<TxnResult> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted === true) return reject(abortedBefore(options.signal));
      const finish = (outcome: TxnOutcome): void => {
        if (outcome.kind === "done") resolve(outcome.result);
        else reject(outcome.error);
      };
      const command = encodeTxn(txn, options.request);
      if (options.signal === undefined) this.transactEncoded(command, finish, options.timeoutMs);
      else this.submitAbortable(command, (applied) => finish(toTxnOutcome(applied)), options.signal, options.timeoutMs);
    });
  }

  /**
   * The same for a command of `encodeTxn`, without a promise: the path of the client protocol. `done` is called exactly
   * once, never inside this call.
   */
  transactEncoded(command: Uint8Array, done: (outcome: TxnOutcome) => void, timeoutMs = TIMEOUT_MS_DEFAULT): void {
    this.propose(command, (applied) => done(toTxnOutcome(applied)), timeoutMs);
  }

  grantLease(grant: LeaseGrant, options: KvCallOptions = {}): Promise<GrantedLease> {
    return this.leases.grant(grant, options);
  }

  renewLease(lease: LeaseId, options: KvCallOptions = {}): Promise<void> {
    return this.leases.renew(lease, options);
  }

  revokeLease(lease: LeaseId, options: KvCallOptions = {}): Promise<void> {
    return this.leases.revoke(lease, options);
  }

  lease(lease: LeaseId): LeaseInfo | undefined {
    return this.state.lease(lease);
  }

  leaseCount(): number {
    return this.state.leaseCount();
  }

  usage(): StoreUsage {
    return this.state.usage;
  }

  async setQuota(bytes: number, options: KvCallOptions = {}): Promise<void> {
    await this.submit(encodeQuota(bytes), options);
  }

  watch(prefix: KvPrefixes, handlers: KvWatchHandlers, options: KvWatchOptions = {}): KvWatch {
    return this.hub.watch(prefix, handlers, options);
  }

  /** What there is to see of watches and of the past. */
  observe(): KvObservation {
    const { size: open, behind, ended } = this.hub;
    const history = { oldestRevision: this.oldestRevision, ...this.history.weight };
    return { watches: { open, behind, ended }, history };
  }

  /** Ends all watches. Calls under way end by their deadline or with the group. */
  close(): void {
    this.hub.close(new AetherError("E_UNAVAILABLE", "this node stops: watch through another one", { outcome: "none" }));
  }

  /** Proposes a command that is no transaction. Rejects when it was refused, or when nobody knows. */
  private submit(command: Uint8Array, options: KvCallOptions): Promise<AppliedResult> {
    return new Promise((resolve, reject) => {
      const { signal, timeoutMs } = options;
      if (signal?.aborted === true) return reject(abortedBefore(signal));
      const finish = (applied: Applied): void => {
        if (applied.kind === "applied") resolve(applied.result);
        else reject(applied.error);
      };
      if (signal === undefined) this.propose(command, finish, timeoutMs);
      else this.submitAbortable(command, finish, signal, timeoutMs);
    });
  }

  private propose(command: Uint8Array, done: (applied: Applied) => void, timeoutMs = TIMEOUT_MS_DEFAULT): void {
    let timer: Timer | undefined = this.clock.setTimer(timeoutMs, () => {
      timer = undefined;
      done({ kind: "failed", error: writeTimeout(timeoutMs) });
    });
    this.group.propose(command, (outcome) => {
      // The deadline was first: the caller has its answer.
      if (timer === undefined) return;
      timer.cancel();
      timer = undefined;
      done(toApplied(outcome));
    });
  }

  /** An abort ends the waiting, not the write: its outcome is unknown then. */
  private submitAbortable(
    command: Uint8Array,
    finish: (applied: Applied) => void,
    signal: AbortSignal,
    timeoutMs: number | undefined,
  ): void {
    const onAbort = (): void => finish({ kind: "failed", error: writeAborted(signal) });
    signal.addEventListener("abort", onAbort, { once: true });
    const done = (applied: Applied): void => {
      signal.removeEventListener("abort", onAbort);
      finish(applied);
    };
    this.propose(command, done, timeoutMs);
  }

  private inTurn<T>(reader: object | undefined, checkTime: () => void, read: () => Promise<T>): Promise<T> {
    if (reader === undefined) return read();
    return this.turns.page(reader, async () => {
      checkTime();
      return read();
    });
  }

  /** Throws once nobody waits for the read any more. */
  private timeOf({ signal, timeoutMs = TIMEOUT_MS_DEFAULT }: KvReadOptions): () => void {
    const sinceMs = this.clock.nowMs();
    return () => {
      if (signal?.aborted === true) throw readAborted(signal);
      if (this.clock.nowMs() - sinceMs > timeoutMs) throw readCrowdedOut(timeoutMs);
    };
  }

  private async reachConsistency(options: KvReadOptions): Promise<void> {
    if (options.signal?.aborted === true) throw abortedBefore(options.signal);
    switch (options.consistency) {
      case "local":
        return;
      case "linearizable":
      case undefined:
        return this.passReadBarrier(options);
      default:
        return unreachable(options.consistency);
    }
  }

  private passReadBarrier({ signal, timeoutMs = TIMEOUT_MS_DEFAULT }: KvReadOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimer(timeoutMs, () => settle(readTimeout(timeoutMs)));
      const onAbort = (): void => settle(readAborted(signal));
      const settle = (error?: AetherError): void => {
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
        if (error === undefined) resolve();
        else reject(error);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.group.readBarrier((outcome) => settle(toReadError(outcome)));
    });
  }
}

function toReadError(outcome: ReadOutcome): AetherError | undefined {
  if (outcome.kind === "ready") return undefined;
  return new AetherError(outcome.code, `cannot read: ${outcome.reason}`, { outcome: "none" });
}

function readTimeout(timeoutMs: number): AetherError {
  const message = `no quorum answered the read within ${timeoutMs} ms; try again, or read with consistency "local"`;
  return new AetherError("E_TIMEOUT", message, { outcome: "none", details: { timeoutMs } });
}

function readCrowdedOut(timeoutMs: number): AetherError {
  const message = `reads that came before took longer than the ${timeoutMs} ms; try again, or another node`;
  return new AetherError("E_TIMEOUT", message, { outcome: "none", details: { timeoutMs } });
}

function readAborted(signal: AbortSignal | undefined): AetherError {
  return new AetherError("E_TIMEOUT", "the caller gave up on a read", { outcome: "none", cause: signal?.reason });
}

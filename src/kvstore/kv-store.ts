// Owns: the store as its callers know it: proposes transactions, reads linearizably or locally, deadlines, aborts.
// Does not own: the state (kv-state.ts) and agreement (consensus).
import { unreachable } from "../base/assert.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Group, ProposeOutcome, ReadOutcome } from "../consensus/group.ts";
import type { KeyText } from "./core/key.ts";
import { TXN_READ_BYTES_MAX } from "./core/limits.ts";
import type { OpResult, Txn, TxnResult } from "./core/schema.ts";
import type { CommandResult, StoredOpResult } from "./core/state-machine.ts";
import { toKvEntry } from "./core/stored-entry.ts";
import { encodeTxn } from "./core/txn.ts";
import type { Kv, KvCallOptions, KvListQuery, KvPage, KvRead, KvReadOptions, KvWatch, KvWatchHandlers } from "./kv.ts";
import type { ApplyResult, KvState } from "./kv-state.ts";
import { WatchHub } from "./watch-hub.ts";

const TIMEOUT_MS_DEFAULT = 5 * SECOND_MS;

export interface KvStorePorts {
  readonly group: Group;
  readonly state: KvState;
  readonly clock: Clock;
}

/** The end of a transaction. A failure whose outcome is unknown says so in the error. */
export type TxnOutcome =
  | { readonly kind: "done"; readonly result: TxnResult }
  | { readonly kind: "failed"; readonly error: AetherError };

export class KvStore implements Kv {
  private readonly group: Group;
  private readonly state: KvState;
  private readonly clock: Clock;
  private readonly hub: WatchHub;
  private readonly stopListening: () => void;

  constructor({ group, state, clock }: KvStorePorts) {
    this.group = group;
    this.state = state;
    this.clock = clock;
    this.hub = new WatchHub(clock);
    this.stopListening = state.onChanges((revision, changes) => this.hub.publish(revision, changes));
  }

  get revision(): number {
    return this.state.revision;
  }

  async get(key: KeyText, options: KvReadOptions = {}): Promise<KvRead> {
    await this.reachConsistency(options);
    return this.state.getLocal(key);
  }

  async list(query: KvListQuery, options: KvReadOptions = {}): Promise<KvPage> {
    await this.reachConsistency(options);
    return this.state.listLocal(query);
  }

  transact(txn: Txn, options: KvCallOptions = {}): Promise<TxnResult> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted === true) return reject(abortedBefore(options.signal));
      const finish = (outcome: TxnOutcome): void => {
        if (outcome.kind === "done") resolve(outcome.result);
        else reject(outcome.error);
      };
      const command = encodeTxn(txn);
      if (options.signal === undefined) this.transactEncoded(command, finish, options.timeoutMs);
      else this.transactAbortable(command, finish, { ...options, signal: options.signal });
    });
  }

  /**
   * The same for a command of `encodeTxn`, without a promise: the path of the client protocol. `done` is called exactly
   * once, never inside this call.
   */
  transactEncoded(command: Uint8Array, done: (outcome: TxnOutcome) => void, timeoutMs = TIMEOUT_MS_DEFAULT): void {
    let timer: Timer | undefined = this.clock.setTimer(timeoutMs, () => {
      timer = undefined;
      done({ kind: "failed", error: writeTimeout(timeoutMs) });
    });
    this.group.propose(command, (outcome) => {
      // The deadline was first: the caller has its answer.
      if (timer === undefined) return;
      timer.cancel();
      timer = undefined;
      done(toTxnOutcome(outcome));
    });
  }

  watch(prefix: string, handlers: KvWatchHandlers): KvWatch {
    return this.hub.watch(prefix, handlers, this.state.revision);
  }

  /** Ends all watches. Calls under way end by their deadline or with the group. */
  close(): void {
    this.stopListening();
    this.hub.close(new AetherError("E_UNAVAILABLE", "this node stops: watch through another one", { outcome: "none" }));
  }

  /** An abort ends the waiting, not the transaction: its outcome is unknown then. */
  private transactAbortable(
    command: Uint8Array,
    finish: (outcome: TxnOutcome) => void,
    { signal, timeoutMs }: { readonly signal: AbortSignal; readonly timeoutMs?: number },
  ): void {
    const onAbort = (): void => finish({ kind: "failed", error: writeAborted(signal) });
    signal.addEventListener("abort", onAbort, { once: true });
    const done = (outcome: TxnOutcome): void => {
      signal.removeEventListener("abort", onAbort);
      finish(outcome);
    };
    this.transactEncoded(command, done, timeoutMs);
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

function toTxnOutcome(outcome: ProposeOutcome): TxnOutcome {
  switch (outcome.kind) {
    case "applied":
      return toTxnResult(outcome.result);
    case "refused":
      return failed(new AetherError(outcome.code, `the transaction was not proposed: ${outcome.reason}`, NOT_APPLIED));
    case "unknown":
      return failed(new AetherError("E_TIMEOUT", `${outcome.reason}: ${UNKNOWN_OUTCOME}`));
    default:
      return unreachable(outcome);
  }
}

const UNKNOWN_OUTCOME = "it may or may not be applied; read before you repeat it";
const NOT_APPLIED = { outcome: "not-applied" } as const;

function toTxnResult(applied: unknown): TxnOutcome {
  const result = toApplyResult(applied);
  switch (result.kind) {
    case "done":
      return finishedTxn(result);
    case "refused":
      return failed(new AetherError(result.code, `every node refused the transaction: ${result.reason}`, NOT_APPLIED));
    case "lost":
      return failed(
        new AetherError("E_UNAVAILABLE", `this node's state has failed: ${UNKNOWN_OUTCOME}`, { outcome: "unknown" }),
      );
    default:
      return unreachable(result);
  }
}

function finishedTxn(result: Extract<CommandResult, { kind: "done" }>): TxnOutcome {
  const { succeeded, revision } = result;
  const bytes = bytesRead(result.results);
  if (bytes > TXN_READ_BYTES_MAX) return failed(tooMuchRead(result, bytes));
  try {
    return { kind: "done", result: { succeeded, revision, results: result.results.map(toOpResult) } };
  } catch (error) {
    const reason = toAetherError(error).message;
    const message = `the transaction is applied, but an entry that it read cannot be decoded: ${reason}`;
    return failed(new AetherError("E_INTERNAL", message, { cause: error }));
  }
}

function bytesRead(results: readonly StoredOpResult[]): number {
  let bytes = 0;
  for (const result of results) if (result.kind === "get") bytes += result.entry?.block.length ?? 0;
  return bytes;
}

function tooMuchRead({ changes }: Extract<CommandResult, { kind: "done" }>, actual: number): AetherError {
  const limit = TXN_READ_BYTES_MAX;
  const what = changes.length === 0 ? "the transaction changed nothing" : "the transaction is applied";
  return new AetherError("E_TOO_LARGE", `${what}, but its gets found ${actual} bytes, over ${limit}: get fewer keys`, {
    outcome: changes.length === 0 ? "not-applied" : "unknown",
    details: { limit, actual },
  });
}

function toOpResult(result: StoredOpResult): OpResult {
  if (result.kind !== "get") return result;
  return result.entry === undefined ? { kind: "get" } : { kind: "get", entry: toKvEntry(result.key, result.entry) };
}

/** The group hands back what the state machine of this process gave it. */
function toApplyResult(result: unknown): ApplyResult {
  return result as ApplyResult;
}

function toReadError(outcome: ReadOutcome): AetherError | undefined {
  if (outcome.kind === "ready") return undefined;
  return new AetherError(outcome.code, `cannot read: ${outcome.reason}`, { outcome: "none" });
}

function failed(error: AetherError): TxnOutcome {
  return { kind: "failed", error };
}

function writeTimeout(timeoutMs: number): AetherError {
  const message = `no answer to the transaction within ${timeoutMs} ms: ${UNKNOWN_OUTCOME}`;
  return new AetherError("E_TIMEOUT", message, { details: { timeoutMs } });
}

function writeAborted(signal: AbortSignal): AetherError {
  const message = `the caller gave up on a transaction under way: ${UNKNOWN_OUTCOME}`;
  return new AetherError("E_TIMEOUT", message, { cause: signal.reason });
}

function abortedBefore(signal: AbortSignal): AetherError {
  return new AetherError("E_TIMEOUT", "the caller had given up before the request began", {
    outcome: "not-applied",
    cause: signal.reason,
  });
}

function readTimeout(timeoutMs: number): AetherError {
  const message = `no quorum answered the read within ${timeoutMs} ms; try again, or read with consistency "local"`;
  return new AetherError("E_TIMEOUT", message, { outcome: "none", details: { timeoutMs } });
}

function readAborted(signal: AbortSignal | undefined): AetherError {
  return new AetherError("E_TIMEOUT", "the caller gave up on a read", { outcome: "none", cause: signal?.reason });
}

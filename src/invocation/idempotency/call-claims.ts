// Owns: the records `calls/…` that this node writes: claiming a key, and saying what became of the claim. Each claim
// is settled in the end, however often the store fails meanwhile.
// Does not own: what a record means for the next call (core/call-record.ts).
//
// A claim of which nobody knows whether it was written is written again until that is known, and then given back: its
// caller has been told that nothing started. Giving back writes a row instead of deleting one, so that an attempt
// which is still under way somewhere finds a key that has changed, and changes nothing.
import { createDeferred, type Deferred } from "../../base/deferred.ts";
import { AetherError, toAetherError, type ErrorBody } from "../../base/errors.ts";
import type { Digest } from "../../base/ids.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { NodeLife } from "../../cluster/core/rows.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, LeaseId } from "../../kvstore/core/schema.ts";
import type { Kv, KvCallOptions, Leases } from "../../kvstore/kv.ts";
import {
  encodeResult, parseCallRecord, type CallRecord, type CallResult, type Claimant,
} from "../core/call-record.ts";
import { ResultLeases } from "./result-leases.ts";

export interface CallClaimsPorts {
  readonly kv: Pick<Kv, "get" | "transact"> & Pick<Leases, "grantLease" | "leaseCount">;
  readonly onFatal: (error: unknown) => void;
}

/** A record as it was found; `record` is undefined when there is none. */
export interface FoundRecord {
  readonly record: CallRecord | undefined;
  readonly modRevision: number;
  /** Of the store when it was found. */
  readonly revision: number;
}

/** What this node holds of a key. */
export interface Claim {
  readonly key: KeyText;
  readonly by: Claimant;
  readonly input: Digest;
  readonly lease: LeaseId;
  readonly modRevision: number;
}

export type ClaimOutcome =
  | { readonly kind: "claimed"; readonly claim: Claim }
  | { readonly kind: "taken"; readonly found: FoundRecord }
  | { readonly kind: "refused"; readonly error: ErrorBody };

export interface WantedClaim {
  readonly key: KeyText;
  readonly input: Digest;
  /** What was found there. */
  readonly found: FoundRecord;
  readonly timeoutMs: number;
}

interface RecordWrite {
  readonly key: KeyText;
  readonly record: CallRecord;
  readonly lease: LeaseId;
  /** Revision of the row that this one takes the place of; 0 for none. */
  readonly over: number;
}

type Written =
  | { readonly kind: "ours"; readonly modRevision: number; readonly lease: LeaseId }
  | { readonly kind: "theirs"; readonly found: FoundRecord };

/** Claims of one node that are not settled: handlers that run, and records that the store has not taken yet. */
const CLAIMS_MAX = 10_000;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 5 * SECOND_MS;

export class CallClaims {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly kv: CallClaimsPorts["kv"];
  private readonly self: NodeLife;
  private readonly leases: ResultLeases;
  private readonly scope: TaskScope;
  private lastClaim = 0;
  private held = 0;
  private idle: Deferred<void> | undefined;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: CallClaimsPorts,
    self: NodeLife,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.kv = ports.kv;
    this.self = self;
    this.leases = new ResultLeases(env, ports);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  /** What this node has of a key. A record that is done stays as it is, so that an old one is as good as any. */
  async find(key: KeyText): Promise<FoundRecord> {
    const { entry, revision } = await this.kv.get(key, { consistency: "local" });
    return foundIn(entry, revision);
  }

  /** Never rejects. Whoever gets a claim settles it. */
  async claim({ key, input, found, timeoutMs }: WantedClaim): Promise<ClaimOutcome> {
    if (this.held >= CLAIMS_MAX) return { kind: "refused", error: tooMany().toBody() };
    const by = { ...this.self, claim: ++this.lastClaim };
    this.held += 1;
    let write: RecordWrite | undefined;
    try {
      const lease = await this.leases.take({ timeoutMs });
      write = { key, record: { state: "claimed", by, input }, lease, over: found.modRevision };
      const written = await this.write(write, { timeoutMs });
      if (written.kind === "ours") return { kind: "claimed", claim: { ...written, key, by, input } };
      this.letGo();
      return { kind: "taken", found: written.found };
    } catch (thrown) {
      const error = toAetherError(thrown);
      if (write !== undefined && error.outcome === "unknown") this.giveBackIfOurs(write, by);
      else this.letGo();
      return { kind: "refused", error: notClaimed(error).toBody() };
    }
  }

  /**
   * Says what became of a claim; without a result it is as if no call had been made. Resolves once the store has it,
   * with false when the key was not ours any more. Goes on without end while the store takes nothing.
   */
  settle(claim: Claim, result: CallResult | undefined): Promise<boolean> {
    const { key, by, input, lease, modRevision: over } = claim;
    const record: CallRecord =
      result === undefined ? { state: "open", by } : { state: "done", by, input, result: encodeResult(result) };
    const settled = createDeferred<boolean>();
    this.scope.spawn("call-record", async (signal) => {
      const written = await this.untilWritten({ key, record, lease, over }, signal);
      this.letGo();
      settled.resolve(written.kind === "ours");
    });
    return settled.promise;
  }

  /** Resolves once nothing is claimed here: nothing runs, and the store has every result. */
  whenIdle(): Promise<void> {
    if (this.held === 0) return Promise.resolve();
    this.idle ??= createDeferred<void>();
    return this.idle.promise;
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  private letGo(): void {
    this.held -= 1;
    if (this.held > 0) return;
    this.idle?.resolve();
    this.idle = undefined;
  }

  private giveBackIfOurs(write: RecordWrite, by: Claimant): void {
    this.scope.spawn("call-claim", async (signal) => {
      const claimed = await this.untilWritten(write, signal);
      if (claimed.kind === "ours") {
        const { key } = write;
        const { lease, modRevision: over } = claimed;
        await this.untilWritten({ key, record: { state: "open", by }, lease, over }, signal);
      }
      this.letGo();
    });
  }

  private async untilWritten(write: RecordWrite, signal: AbortSignal): Promise<Written> {
    for (let retryMs = RETRY_MS_MIN; ; retryMs = Math.min(retryMs * 2, RETRY_MS_MAX)) {
      try {
        return await this.write(write, { signal });
      } catch (thrown) {
        signal.throwIfAborted();
        const { code, message: reason } = toAetherError(thrown);
        this.log.warn({ event: "call.not-recorded", key: write.key, code, reason });
      }
      await this.clock.sleep(retryMs, signal);
    }
  }

  private async write(write: RecordWrite, options: KvCallOptions): Promise<Written> {
    try {
      return await this.writeOnce(write, options);
    } catch (thrown) {
      if (!(thrown instanceof AetherError) || thrown.code !== "E_NOT_FOUND") throw thrown;
      this.leases.forget(write.lease);
      return await this.writeOnce({ ...write, lease: await this.leases.take(options) }, options);
    }
  }

  private async writeOnce({ key, record, lease, over }: RecordWrite, options: KvCallOptions): Promise<Written> {
    const { succeeded, revision, results } = await this.kv.transact({
      compare: [unchanged(key, over)],
      then: [{ kind: "put", key, value: record, lease }],
      else: [{ kind: "get", key }],
    }, options);
    if (succeeded) return { kind: "ours", modRevision: revision, lease };
    const [read] = results;
    const found = foundIn(read?.kind === "get" ? read.entry : undefined, revision);
    // An earlier attempt of which no answer came.
    const isOurs = found.record?.state === record.state && isSameClaim(found.record.by, record.by);
    return isOurs ? { kind: "ours", modRevision: found.modRevision, lease } : { kind: "theirs", found };
  }
}

function foundIn(entry: KvEntry | undefined, revision: number): FoundRecord {
  if (entry === undefined) return { record: undefined, modRevision: 0, revision };
  return { record: parseCallRecord(entry.value), modRevision: entry.modRevision, revision };
}

function isSameClaim(a: Claimant, b: Claimant): boolean {
  return a.node === b.node && a.uid === b.uid && a.incarnation === b.incarnation && a.claim === b.claim;
}

function tooMany(): AetherError {
  const message = `${CLAIMS_MAX} calls with idempotency keys are under way on this node, the limit; try again later`;
  return new AetherError("E_OVERLOADED", message);
}

/** Whatever the store's error says of the claim: no handler has started. */
function notClaimed({ code, message: reason, details, cause }: AetherError): AetherError {
  // Of the lease, which is nothing that a caller asked for.
  const known = code === "E_NOT_FOUND" ? "E_UNAVAILABLE" : code;
  const message = `did not start the call: the store did not take its idempotency key: ${reason}`;
  return new AetherError(known, message, { outcome: "not-applied", details, cause });
}

// Owns: granting, renewing and revoking for callers: all renewals of one turn are one command.
// Does not own: when a lease ends by itself (lease-keeper.ts).
import { createDeferred, type Deferred } from "../base/deferred.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { Clock } from "../env/clock.ts";
import type { AppliedResult } from "./command-outcome.ts";
import { encodeGrant, encodeRenew, encodeRevoke, LEASES_PER_COMMAND_MAX } from "./core/command.ts";
import type { LeaseId } from "./core/schema.ts";
import { checkNumber } from "./core/txn.ts";
import type { GrantedLease, KvCallOptions, LeaseGrant } from "./kv.ts";

/** Proposes one command; rejects when it was refused or its outcome is unknown. */
export type Submit = (command: Uint8Array, options: KvCallOptions) => Promise<AppliedResult>;

export class LeaseCalls {
  private readonly clock: Pick<Clock, "defer">;
  private readonly submit: Submit;
  /** Renewals of this turn by the time that their callers give them; callers of the same lease share one. */
  private waiting = new Map<number | undefined, Map<LeaseId, Deferred<void>>>();

  constructor(clock: Pick<Clock, "defer">, submit: Submit) {
    this.clock = clock;
    this.submit = submit;
  }

  async grant({ ttlMs, requests = false }: LeaseGrant, options: KvCallOptions): Promise<GrantedLease> {
    const result = await this.submit(encodeGrant(ttlMs, requests), options);
    if (result.kind !== "granted") throw wrongAnswer(result);
    return { lease: result.lease, ttlMs: result.ttlMs };
  }

  /** Whoever may give up by a signal has a command of its own. */
  async renew(lease: LeaseId, options: KvCallOptions): Promise<void> {
    checkNumber("lease", lease);
    if (options.signal === undefined) return this.renewWithOthers(lease, options.timeoutMs);
    const gone = goneOf(await this.submit(encodeRenew([lease]), options));
    if (gone.includes(lease)) throw noSuchLease(lease);
  }

  async revoke(lease: LeaseId, options: KvCallOptions): Promise<void> {
    checkNumber("lease", lease);
    const result = await this.submit(encodeRevoke(lease), options);
    if (result.kind !== "ended") throw wrongAnswer(result);
  }

  private renewWithOthers(lease: LeaseId, timeoutMs: number | undefined): Promise<void> {
    if (this.waiting.size === 0) this.clock.defer(() => this.sendRenewals());
    const turn = this.waiting.get(timeoutMs) ?? new Map<LeaseId, Deferred<void>>();
    this.waiting.set(timeoutMs, turn);
    const waiting = turn.get(lease) ?? createDeferred<void>();
    turn.set(lease, waiting);
    return waiting.promise;
  }

  private sendRenewals(): void {
    const turn = this.waiting;
    this.waiting = new Map();
    for (const [timeoutMs, renewals] of turn) {
      const all = [...renewals];
      for (let from = 0; from < all.length; from += LEASES_PER_COMMAND_MAX) {
        this.sendRenewal(all.slice(from, from + LEASES_PER_COMMAND_MAX), timeoutMs);
      }
    }
  }

  private sendRenewal(renewals: readonly (readonly [LeaseId, Deferred<void>])[], timeoutMs: number | undefined): void {
    const command = encodeRenew(renewals.map(([lease]) => lease));
    const answered = this.submit(command, timeoutMs === undefined ? {} : { timeoutMs });
    void answered.then((result) => new Set(goneOf(result))).then(
      (gone) => renewals.forEach(([lease, waiting]) => {
        if (gone.has(lease)) waiting.reject(noSuchLease(lease));
        else waiting.resolve();
      }),
      (error: unknown) => renewals.forEach(([, waiting]) => waiting.reject(toAetherError(error))),
    );
  }
}

function goneOf(result: AppliedResult): readonly LeaseId[] {
  if (result.kind !== "renewed") throw wrongAnswer(result);
  return result.gone;
}

function noSuchLease(lease: LeaseId): AetherError {
  return new AetherError("E_NOT_FOUND", `there is no lease ${lease}: it has ended; grant a new one`, {
    details: { lease },
  });
}

function wrongAnswer(result: AppliedResult): AetherError {
  return new AetherError("E_INTERNAL", `a command about leases was answered as a command "${result.kind}"`);
}

// Owns: the leases of this node that calls' records hang on, so that the store forgets them by itself after a day.
// Does not own: the records (call-claims.ts), when a lease ends (kvstore/lease-keeper.ts).
import { AetherError } from "../../base/errors.ts";
import { HOUR_MS, MINUTE_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import { LEASE_KEYS_MAX, LEASES_MAX } from "../../kvstore/core/lease-table.ts";
import type { LeaseId } from "../../kvstore/core/schema.ts";
import type { KvCallOptions, Leases } from "../../kvstore/kv.ts";

/** How long the store knows a key, at least all but the ten minutes for which one lease takes new keys. */
const KEPT_MS = 24 * HOUR_MS;
const TAKES_KEYS_MS = 10 * MINUTE_MS;
/** Of one node, while it runs. */
const CALL_LEASES_MAX = 1_000;
/** Of the cluster's: sessions and slices need leases too, however many nodes there are and how often they start. */
const LEASES_LEFT = 2_000;

interface OpenLease {
  readonly lease: LeaseId;
  readonly sinceMs: number;
  keys: number;
}

export class ResultLeases {
  private readonly clock: Clock;
  private readonly kv: Pick<Leases, "grantLease" | "leaseCount">;
  private open: OpenLease | undefined;
  private opening: Promise<OpenLease> | undefined;
  /** When each lease was granted that has not ended by now, the oldest first. */
  private granted: number[] = [];

  constructor(env: { readonly clock: Clock }, ports: { readonly kv: Pick<Leases, "grantLease" | "leaseCount"> }) {
    this.clock = env.clock;
    this.kv = ports.kv;
  }

  /** A lease for one more key. @throws AetherError E_OVERLOADED when too many keys are kept, or as the store does */
  async take(options: KvCallOptions): Promise<LeaseId> {
    for (;;) {
      const { open } = this;
      if (open !== undefined && open.keys < LEASE_KEYS_MAX && this.clock.nowMs() - open.sinceMs < TAKES_KEYS_MS) {
        open.keys += 1;
        return open.lease;
      }
      await this.renew(options);
    }
  }

  /** It has ended early: this node stood still for a day, or somebody has revoked it. */
  forget(lease: LeaseId): void {
    if (this.open?.lease === lease) this.open = undefined;
  }

  /** Everybody who needs a lease now waits for the same one. */
  private async renew(options: KvCallOptions): Promise<void> {
    this.opening ??= this.grant(options);
    try {
      this.open = await this.opening;
    } finally {
      this.opening = undefined;
    }
  }

  private async grant(options: KvCallOptions): Promise<OpenLease> {
    const sinceMs = this.clock.nowMs();
    this.granted = this.granted.filter((grantedMs) => sinceMs - grantedMs < KEPT_MS);
    if (this.granted.length >= CALL_LEASES_MAX) {
      throw tooMany("this node", CALL_LEASES_MAX, "use another node");
    }
    if (this.kv.leaseCount() >= LEASES_MAX - LEASES_LEFT) {
      throw tooMany("the cluster", LEASES_MAX - LEASES_LEFT, "wait until some are a day old");
    }
    const { lease } = await this.kv.grantLease({ ttlMs: KEPT_MS }, options);
    this.granted.push(sinceMs);
    return { lease, sinceMs, keys: 0 };
  }
}

function tooMany(who: string, leases: number, advice: string): AetherError {
  const message = `${who} keeps the results of calls with idempotency keys on ${leases} leases, the limit, each with ` +
    `up to ${LEASE_KEYS_MAX} keys of ten minutes; ${advice}, or call without a key`;
  return new AetherError("E_OVERLOADED", message, { details: { limit: leases } });
}

// Owns: the leases of this node that calls' records hang on, so that the store forgets them by itself after a day.
// Does not own: the records (call-claims.ts), when a lease ends (kvstore/lease-keeper.ts).
import { AetherError } from "../../base/errors.ts";
import { HOUR_MS, MINUTE_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import { LEASE_KEYS_MAX } from "../../kvstore/core/lease-table.ts";
import type { LeaseId } from "../../kvstore/core/schema.ts";
import type { KvCallOptions, Leases } from "../../kvstore/kv.ts";

/** How long the store knows a key, at least all but the ten minutes for which one lease takes new keys. */
const KEPT_MS = 24 * HOUR_MS;
const TAKES_KEYS_MS = 10 * MINUTE_MS;
/** Clients need leases too, and the cluster has a limit of them. */
const CALL_LEASES_MAX = 1_000;

interface OpenLease {
  readonly lease: LeaseId;
  readonly sinceMs: number;
  keys: number;
}

export class ResultLeases {
  private readonly clock: Clock;
  private readonly kv: Pick<Leases, "grantLease">;
  private open: OpenLease | undefined;
  private opening: Promise<OpenLease> | undefined;
  /** When each lease was granted that has not ended by now, the oldest first. */
  private granted: number[] = [];

  constructor(env: { readonly clock: Clock }, ports: { readonly kv: Pick<Leases, "grantLease"> }) {
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
      const keys = CALL_LEASES_MAX * LEASE_KEYS_MAX;
      const message = `this node keeps the results of ${keys} calls with idempotency keys, the limit; ` +
        "use another node, or call without a key";
      throw new AetherError("E_OVERLOADED", message);
    }
    const { lease } = await this.kv.grantLease({ ttlMs: KEPT_MS }, options);
    this.granted.push(sinceMs);
    return { lease, sinceMs, keys: 0 };
  }
}

// Owns: leases as a client sees them: granted, renewed by themselves, and a signal when one may be lost.
import { AetherError, toAetherError } from "../base/errors.ts";
import type { Clock } from "../env/clock.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { parseGrant } from "../api/results.ts";
import type { LeaseId } from "../kvstore/core/schema.ts";
import { HeldLease } from "../kvstore/held-lease.ts";
import type { ClientCallOptions } from "./client-kv.ts";
import { grantSpec, renewSpec, revokeSpec } from "./lease-specs.ts";
import type { Multiplexer } from "./multiplexer.ts";

/** A lease that this client keeps alive. Keys that are put with it are deleted when it ends. */
export interface ClientLease {
  readonly id: LeaseId;
  readonly ttlMs: number;
  /**
   * Aborted, with an AetherError as its reason, as soon as the lease may have ended: it was not renewed for `ttlMs`,
   * the cluster says that it ended, or the client was closed.
   */
  readonly lost: AbortSignal;
  /** Ends it and deletes its keys. Fine for a lease that has ended already. */
  revoke(options?: ClientCallOptions): Promise<void>;
}

export interface LeasePorts {
  readonly requests: Multiplexer;
  readonly clock: Clock;
}

export async function openLease(
  { requests, clock }: LeasePorts,
  ttlMs: number,
  { timeoutMs = KV_TIMEOUT_MS, signal }: ClientCallOptions,
): Promise<ClientLease> {
  const askedMs = clock.nowMs();
  const granted = parseGrant(await requests.request(grantSpec({ ttlMs }, { timeoutMs, signal })));
  return new RenewedLease({ requests, clock }, { ...granted, askedMs });
}

class RenewedLease implements ClientLease {
  readonly id: LeaseId;
  readonly ttlMs: number;
  private readonly requests: Multiplexer;
  private readonly held: HeldLease;
  private readonly loss = new AbortController();
  private readonly stopListening: () => void;

  constructor(
    { requests, clock }: LeasePorts,
    { lease, ttlMs, askedMs }: { readonly lease: LeaseId; readonly ttlMs: number; readonly askedMs: number },
  ) {
    this.id = lease;
    this.ttlMs = ttlMs;
    this.requests = requests;
    this.held = new HeldLease(
      { clock, renew: (timeoutMs) => this.renew(timeoutMs), onLost: (reason) => this.lose(reason) },
      { ttlMs, askedMs },
    );
    this.stopListening = requests.onClose(() => {
      this.lose(new AetherError("E_UNAVAILABLE", `the client was closed: lease ${lease} is not renewed any more`));
    });
  }

  get lost(): AbortSignal {
    return this.loss.signal;
  }

  async revoke({ timeoutMs = KV_TIMEOUT_MS, signal }: ClientCallOptions = {}): Promise<void> {
    try {
      await this.requests.request(revokeSpec(this.id, { timeoutMs, signal }));
    } catch (error) {
      // A repeated attempt finds what the first one did.
      if (toAetherError(error).code !== "E_NOT_FOUND") throw error;
    }
    this.lose(new AetherError("E_NOT_FOUND", `lease ${this.id} was revoked`, { details: { lease: this.id } }));
  }

  private async renew(timeoutMs: number): Promise<void> {
    await this.requests.requestOwn(renewSpec(this.id, { timeoutMs }));
  }

  private lose(reason: AetherError): void {
    this.held.drop();
    this.stopListening();
    this.loss.abort(reason);
  }
}

// Owns: leases that slices take: who has one, keeping it alive, giving it back, and saying when it may be lost.
// Of the instances of a slice one at most has a lease: its row is made only where there is none. Its token is the
// revision at which the row was made, so tokens of one lease only grow, and a write that compares the row with the
// token happens only while the lease is held under it.
// Does not own: the leases of the store under them, fenced writes (kv-service.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { LeaseId } from "../../kvstore/core/schema.ts";
import { HeldLease } from "../../kvstore/held-lease.ts";
import type { GrantedLease, Kv, Leases } from "../../kvstore/kv.ts";
import type { HostMessage } from "../core/worker-protocol.ts";
import { fieldsOf, optionalNumber, textOf, invalidArgs, unknownOp, type Fields } from "./service-args.ts";
import type { OpenService, ServiceCaller, ServiceScope, SliceService } from "./slice-services.ts";

export interface LeaseServicePorts {
  readonly kv: Pick<Kv, "get" | "transact" | "watch"> & Leases;
  readonly clock: Clock;
  /** Where the holder runs, for people who look at the row. */
  readonly node: NodeId;
}

/** Held or being taken by one instance: each is renewed three times per life. */
export const LEASES_PER_INSTANCE_MAX = 64;
/** What is given back in the background may take so long; after that the lease ends by itself. */
const RELEASE_MS_MAX = 5 * SECOND_MS;

interface Held {
  readonly lease: LeaseId;
  readonly renewal: HeldLease;
}

interface Taken {
  readonly token: number;
  readonly askedMs: number;
}

interface Wanted {
  readonly key: KeyText;
  readonly ttlMs: number;
  readonly endMs: number;
  readonly signal: AbortSignal;
}

export function openLeaseService(ports: LeaseServicePorts): OpenService {
  return (caller, post) => new LeaseService(ports, caller, post);
}

class LeaseService implements SliceService {
  private readonly ports: LeaseServicePorts;
  private readonly caller: ServiceCaller;
  private readonly post: (message: HostMessage) => void;
  /** By token. */
  private readonly held = new Map<number, Held>();
  private taking = 0;
  private isClosed = false;

  constructor(ports: LeaseServicePorts, caller: ServiceCaller, post: (message: HostMessage) => void) {
    this.ports = ports;
    this.caller = caller;
    this.post = post;
  }

  run(op: string, args: unknown, scope: ServiceScope): Promise<unknown> {
    const fields = fieldsOf(args);
    switch (op) {
      case "take":
        return this.take(fields, scope);
      case "release":
        return this.release(fields, scope);
      default:
        throw unknownOp("leases", op);
    }
  }

  close(): void {
    this.isClosed = true;
    for (const { lease, renewal } of this.held.values()) {
      renewal.drop();
      this.giveBack(lease);
    }
    this.held.clear();
  }

  private async take(fields: Fields, scope: ServiceScope): Promise<{ readonly token: number }> {
    if (this.held.size + this.taking >= LEASES_PER_INSTANCE_MAX) throw tooMany();
    const nowMs = this.ports.clock.nowMs();
    const name = textOf(fields, "name");
    const ttlMs = optionalNumber(fields, "ttlMs");
    if (ttlMs === undefined) throw invalidArgs("ttlMs", "a number");
    const key = formatKey({ kind: "slice-lease", slice: this.caller.slice, name });
    const wanted = { key, ttlMs, endMs: nowMs + scope.timeoutMs, signal: scope.signal };
    this.taking += 1;
    try {
      return { token: await this.waitFor(wanted, nowMs + (optionalNumber(fields, "waitMs") ?? 0)) };
    } finally {
      this.taking -= 1;
    }
  }

  /** Tries until it is free, or nobody wants to wait any longer. */
  private async waitFor(wanted: Wanted, waitEndMs: number): Promise<number> {
    const { kv, clock } = this.ports;
    for (;;) {
      const { entry, revision } = await kv.get(wanted.key, this.patience(wanted));
      const token = entry === undefined ? await this.tryTake(wanted) : undefined;
      if (token !== undefined) return token;
      const leftMs = Math.min(waitEndMs, wanted.endMs) - clock.nowMs();
      if (leftMs <= 0) throw heldByAnother(wanted.key, entry?.value);
      if (entry !== undefined) await this.changed(wanted, revision + 1, leftMs);
    }
  }

  /** Undefined when somebody else was first. */
  private async tryTake(wanted: Wanted): Promise<number | undefined> {
    const { kv, clock, node } = this.ports;
    const askedMs = clock.nowMs();
    const granted = await kv.grantLease({ ttlMs: wanted.ttlMs }, this.patience(wanted));
    const value = { node, instance: this.caller.instance, ttlMs: granted.ttlMs };
    try {
      const { succeeded, revision } = await kv.transact(
        {
          compare: [unchanged(wanted.key, 0)],
          then: [{ kind: "put", key: wanted.key, value, lease: granted.lease }],
          else: [],
        },
        this.patience(wanted),
      );
      if (!succeeded) {
        this.giveBack(granted.lease);
        return undefined;
      }
      if (this.isClosed || wanted.signal.aborted) throw notWaitedFor();
      this.hold(granted, { token: revision, askedMs });
      return revision;
    } catch (error) {
      // Whether the row is there or not: with the lease it goes, and without the lease it is never made.
      this.giveBack(granted.lease);
      throw error;
    }
  }

  private hold({ lease, ttlMs }: GrantedLease, { token, askedMs }: Taken): void {
    const { kv, clock } = this.ports;
    const renew = (timeoutMs: number): Promise<void> => kv.renewLease(lease, { timeoutMs });
    const onLost = (reason: AetherError): void => {
      this.held.delete(token);
      this.post({ kind: "lease-lost", token, error: reason.toBody() });
    };
    this.held.set(token, { lease, renewal: new HeldLease({ clock, renew, onLost }, { ttlMs, askedMs }) });
  }

  private async release(fields: Fields, scope: ServiceScope): Promise<void> {
    const token = optionalNumber(fields, "token") ?? 0;
    const held = this.held.get(token);
    // It was lost before: then there is nothing to give back.
    if (held === undefined) return;
    this.held.delete(token);
    held.renewal.drop();
    await this.revoke(held.lease, scope.timeoutMs);
  }

  private async revoke(lease: LeaseId, timeoutMs: number): Promise<void> {
    try {
      await this.ports.kv.revokeLease(lease, { timeoutMs });
    } catch (error) {
      // A lease that ended by itself is what was wanted.
      if (toAetherError(error).code !== "E_NOT_FOUND") throw error;
    }
  }

  private giveBack(lease: LeaseId): void {
    // ignored: nobody renews it, so it ends by itself.
    this.revoke(lease, RELEASE_MS_MAX).catch(() => undefined);
  }

  /** Until the row has changed, the time is up or the caller has left. */
  private changed({ key, signal }: Wanted, fromRevision: number, limitMs: number): Promise<void> {
    const { kv, clock } = this.ports;
    return new Promise((resolve) => {
      const stop = (): void => {
        watch.cancel();
        timer.cancel();
        signal.removeEventListener("abort", stop);
        resolve();
      };
      const watch = kv.watch(key, { onChanges: stop, onEnd: stop }, { fromRevision });
      const timer = clock.setTimer(limitMs, stop);
      signal.addEventListener("abort", stop, { once: true });
      // It does not say so again.
      if (signal.aborted) stop();
    });
  }

  private patience({ endMs, signal }: Wanted): { readonly timeoutMs: number; readonly signal: AbortSignal } {
    return { timeoutMs: Math.max(0, endMs - this.ports.clock.nowMs()), signal };
  }
}

function heldByAnother(key: KeyText, holder: unknown): AetherError {
  const message = `the lease ${key} is held by another; wait for it with waitMs, or do without`;
  return new AetherError("E_CONFLICT", message, { details: holder === undefined ? { key } : { key, holder } });
}

function notWaitedFor(): AetherError {
  return new AetherError("E_TIMEOUT", "nobody waited for this lease any more: it is given back");
}

function tooMany(): AetherError {
  const limit = LEASES_PER_INSTANCE_MAX;
  const message = `this instance has ${limit} leases, its limit; release some of them`;
  return new AetherError("E_OVERLOADED", message, { details: { limit } });
}

// Owns: `ctx.lease` inside the worker: the leases that handlers and hooks have, until they are given back or lost.
// Does not own: who has a lease, and keeping it alive (services/lease-service.ts).
import { Cancellation, type CancelSignal } from "../../base/cancellation.ts";
import { AetherError, type ErrorBody } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { LeaseOptions, SliceKv, SliceLease } from "../../sdk/slice-state.ts";
import type { CallerScope } from "./worker-outgoing.ts";
import type { ServiceClient } from "./service-client.ts";
import { WorkerKv } from "./slice-kv.ts";

/** Time to live of a lease that says nothing else. */
export const LEASE_TTL_MS_DEFAULT = 10 * SECOND_MS;
/** For taking a lease, beyond what the caller wants to wait for it. */
const TAKE_MS_MAX = 5 * SECOND_MS;

/** Nobody waits for what is given back at the end. */
const NO_CALLER: CallerScope = {
  signal: new Cancellation(),
  remainingMs: () => Number.POSITIVE_INFINITY,
};

export class WorkerLeases {
  private readonly client: ServiceClient;
  private readonly held = new Map<number, HeldSliceLease>();
  /** Lost in the same turn in which they were taken: told before anybody could be asked to listen. */
  private readonly lostEarly = new Map<number, ErrorBody>();

  constructor(client: ServiceClient) {
    this.client = client;
  }

  get isHolding(): boolean {
    return this.held.size > 0;
  }

  receiveLost(token: number, error: ErrorBody): void {
    const lease = this.held.get(token);
    if (lease === undefined) this.lostEarly.set(token, error);
    else lease.lose(AetherError.fromBody(error));
  }

  async take(name: string, options: LeaseOptions, scope: CallerScope): Promise<SliceLease> {
    const { ttlMs = LEASE_TTL_MS_DEFAULT, waitMs = 0, timeoutMs = waitMs + TAKE_MS_MAX, signal } = options;
    const answer = await this.client.request({
      what: `taking of the lease ${name}`,
      service: "lease",
      op: "take",
      args: { name, ttlMs, waitMs },
      effect: "write",
      timeoutMs,
      signal,
      // ignored: nobody holds it, so it ends by itself.
      onLate: (value) => void this.release(tokenOf(value)).catch(() => undefined),
    }, scope);
    const token = tokenOf(answer);
    const kv = new WorkerKv(this.client, scope, { name, token });
    const release = (): Promise<void> => this.release(token);
    const forget = (): void => void this.held.delete(token);
    const lease = new HeldSliceLease({ name, token, owner: scope.signal, kv, release, forget });
    this.held.set(token, lease);
    const lost = this.lostEarly.get(token);
    this.lostEarly.delete(token);
    if (lost !== undefined) lease.lose(AetherError.fromBody(lost));
    return lease;
  }

  /**
   * Gives back what the handler or hook with this signal has taken, without it everything. Who did the work is not to
   * fail because of it: a lease that nobody holds ends by itself.
   */
  async end(owner?: CancelSignal): Promise<void> {
    const ended = [...this.held.values()].filter((lease) => owner === undefined || lease.owner === owner);
    if (ended.length > 0) await Promise.allSettled(ended.map((lease) => lease.release()));
  }

  private async release(token: number): Promise<void> {
    const request = { what: "release of a lease", service: "lease", op: "release", effect: "write" } as const;
    // Its node renews it until it is told.
    await this.client.request({ ...request, args: { token }, isOwed: true }, NO_CALLER);
  }
}

interface HeldSliceLeaseParts {
  readonly name: string;
  readonly token: number;
  /** Signal of the handler or hook that took it. */
  readonly owner: CancelSignal;
  readonly kv: SliceKv;
  release(): Promise<void>;
  forget(): void;
}

class HeldSliceLease implements SliceLease {
  private readonly parts: HeldSliceLeaseParts;
  private readonly loss = new AbortController();
  private released: Promise<void> | undefined;

  constructor(parts: HeldSliceLeaseParts) {
    this.parts = parts;
  }

  get name(): string {
    return this.parts.name;
  }

  get token(): number {
    return this.parts.token;
  }

  get owner(): CancelSignal {
    return this.parts.owner;
  }

  get kv(): SliceKv {
    return this.parts.kv;
  }

  get signal(): AbortSignal {
    return this.loss.signal;
  }

  release(): Promise<void> {
    if (this.loss.signal.aborted && this.released === undefined) return Promise.resolve();
    this.released ??= this.parts.release();
    this.lose(new AetherError("E_FENCED", `the lease with the token ${this.parts.token} was released`));
    return this.released;
  }

  lose(reason: AetherError): void {
    this.parts.forget();
    this.loss.abort(reason);
  }
}

/** Our own node says so. */
function tokenOf(answer: unknown): number {
  return (answer as { readonly token: number }).token;
}

// Owns: the session of a client's writes: opened with the first one, renewed while there are any, and its tickets.
// Does not own: sending (multiplexer.ts). Whoever is given no ticket asks again after `onReady`.
import { toAetherError, type AetherError } from "../base/errors.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import { TIMEOUT_MS_MAX } from "../api/limits.ts";
import { parseGrant } from "../api/results.ts";
import type { LeaseId } from "../kvstore/core/schema.ts";
import { RequestWindow } from "./core/request-window.ts";
import { HeldLease } from "../kvstore/held-lease.ts";
import { grantSpec, renewSpec, revokeSpec } from "./lease-specs.ts";
import type { Request, RequestSpec, Settle, Ticket } from "./request.ts";

/** A session outlives the restart of the whole cluster; one that its client left behind is gone soon after. */
const SESSION_TTL_MS = MINUTE_MS;
const REVOKE_TIMEOUT_MS = 5 * SECOND_MS;

export interface WriteSessionPorts {
  readonly clock: Clock;
  /** Sends a request of the client's own. */
  ask(spec: RequestSpec, settle: Settle): Request;
  /** There may be tickets now. */
  onReady(): void;
  /** The cluster refuses to open a session. */
  onRefused(error: AetherError): void;
}

type State =
  | { readonly kind: "none" }
  | { readonly kind: "opening"; readonly grant: Request }
  | { readonly kind: "open"; readonly lease: LeaseId; readonly held: HeldLease; readonly window: RequestWindow };

export class WriteSession {
  private readonly ports: WriteSessionPorts;
  private state: State = { kind: "none" };
  private isUsed = false;

  constructor(ports: WriteSessionPorts) {
    this.ports = ports;
  }

  /** The session that is open now. */
  get lease(): LeaseId | undefined {
    return this.state.kind === "open" ? this.state.lease : undefined;
  }

  /** Why there is no session yet. */
  get refusal(): AetherError | undefined {
    return this.state.kind === "opening" ? this.state.grant.refusal : undefined;
  }

  /** Undefined while the session is not open, or its window full. */
  take(): Ticket | undefined {
    const { state } = this;
    if (state.kind === "none") this.open();
    if (state.kind !== "open") return undefined;
    const id = state.window.take();
    if (id === undefined) return undefined;
    this.isUsed = true;
    return { session: state.lease, id };
  }

  /** Nothing is sent under this ticket any more. */
  release({ session, id }: Ticket): void {
    if (this.state.kind === "open" && this.state.lease === session) this.state.window.release(id);
  }

  /** The cluster does not know this session: later tickets are of a new one. */
  lose(session: LeaseId): void {
    if (this.state.kind === "open" && this.state.lease === session) this.leave();
  }

  /** Stops renewing it. */
  close(): void {
    this.leave();
  }

  private open(): void {
    const { clock } = this.ports;
    const askedMs = clock.nowMs();
    // Writes that wait for it have deadlines of their own.
    const spec = grantSpec({ ttlMs: SESSION_TTL_MS, requests: true }, { timeoutMs: TIMEOUT_MS_MAX });
    let isEnded = false;
    const grant = this.ports.ask(spec, {
      resolve: (answer) => this.begin(answer, askedMs),
      reject: (reason) => {
        isEnded = true;
        this.state = { kind: "none" };
        this.ports.onRefused(toAetherError(reason));
      },
    });
    if (!isEnded) this.state = { kind: "opening", grant };
  }

  private begin(answer: unknown, askedMs: number): void {
    const { clock } = this.ports;
    const { lease, ttlMs } = parseGrant(answer);
    const held = new HeldLease(
      { clock, renew: (timeoutMs) => this.renew(lease, timeoutMs), onLost: () => this.lose(lease) },
      { ttlMs, askedMs },
    );
    this.state = { kind: "open", lease, held, window: new RequestWindow() };
    this.isUsed = true;
    this.ports.onReady();
  }

  /** A client that does not write any more leaves nothing behind in the cluster, and costs it nothing. */
  private renew(lease: LeaseId, timeoutMs: number): Promise<void> {
    if (this.state.kind === "open" && !this.isUsed && this.state.window.isIdle) {
      this.leave();
      this.ports.ask(revokeSpec(lease, { timeoutMs: REVOKE_TIMEOUT_MS }), IGNORE);
      return Promise.resolve();
    }
    this.isUsed = false;
    return new Promise((resolve, reject) => {
      this.ports.ask(renewSpec(lease, { timeoutMs }), { resolve: () => resolve(), reject });
    });
  }

  private leave(): void {
    if (this.state.kind === "open") this.state.held.drop();
    this.state = { kind: "none" };
  }
}

// A session that is not revoked ends by itself.
const IGNORE: Settle = { resolve: () => undefined, reject: () => undefined };

// Owns: the calls that ONE worker has under way to other slices: bounded, cancelled when it says so or ends.
// Does not own: how a call finds its callee (OutgoingCalls).
import { Cancellation } from "../../base/cancellation.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { withClass } from "../core/call-failure.ts";
import type { HostMessage } from "../core/worker-protocol.ts";
import type { CallReply, OutgoingCall, OutgoingCalls } from "./outgoing-calls.ts";

export interface WorkerBridgePorts {
  readonly calls: OutgoingCalls;
  post(message: HostMessage): void;
}

export class WorkerBridge {
  private readonly ports: WorkerBridgePorts;
  private readonly outgoingCallsMax: number;
  private readonly underWay = new Map<number, Cancellation>();

  constructor(ports: WorkerBridgePorts, config: { readonly outgoingCallsMax: number }) {
    this.ports = ports;
    this.outgoingCallsMax = config.outgoingCallsMax;
  }

  start(id: number, call: OutgoingCall): void {
    if (this.underWay.size >= this.outgoingCallsMax) return this.answer(id, overloaded(call, this.outgoingCallsMax));
    const cancellation = new Cancellation();
    this.underWay.set(id, cancellation);
    this.ports.calls.call(call, cancellation).then(
      (reply) => this.finish(id, reply),
      (thrown: unknown) => this.finish(id, broken(thrown)),
    );
  }

  cancel(id: number): void {
    this.underWay.get(id)?.abort(new AetherError("E_TIMEOUT", "the caller gave up"));
  }

  /** The worker has ended: nobody waits for these calls any more. */
  cancelAll(reason: string): void {
    for (const cancellation of this.underWay.values()) cancellation.abort(new AetherError("E_TIMEOUT", reason));
    this.underWay.clear();
  }

  private finish(id: number, reply: CallReply): void {
    // After `cancelAll` there is no worker to answer.
    if (this.underWay.delete(id)) this.answer(id, reply);
  }

  private answer(id: number, reply: CallReply): void {
    this.ports.post({ kind: "answer", id, reply });
  }
}

function overloaded(call: OutgoingCall, limit: number): CallReply {
  const message =
    `did not call ${call.slice}.${call.method}: this instance has ${limit} calls to others under way; ` +
    "wait for some of them";
  const error = withClass(new AetherError("E_OVERLOADED", message).toBody(), "overloaded");
  return { kind: "error", error, attempts: 0 };
}

function broken(thrown: unknown): CallReply {
  return { kind: "error", error: withClass(toAetherError(thrown).toBody(), "no-answer"), attempts: 1 };
}

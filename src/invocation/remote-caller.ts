// Owns: attempts under way on other nodes: each ends exactly once, by a reply, its deadline, its caller, or the loss
// of the connection. Does not own: which node, and whether to try again (invoker.ts).
import type { CancelSignal } from "../base/cancellation.ts";
import { AetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { Clock } from "../env/clock.ts";
import { Deadlines } from "../slices/deadlines.ts";
import type { IncomingReply } from "../slices/host/running-instances.ts";
import type { AttemptResult } from "./core/attempt-verdict.ts";
import type { CallRequest } from "./core/call-codec.ts";
import type { RpcChannel } from "./rpc-channel.ts";

export type RemoteRequest = Omit<CallRequest, "kind" | "id">;

interface PendingAttempt {
  readonly node: NodeId;
  readonly request: RemoteRequest;
  readonly end: (result: AttemptResult) => void;
}

export class RemoteCaller {
  private readonly clock: Clock;
  private readonly rpc: RpcChannel;
  private readonly deadlines: Deadlines<number>;
  private readonly pending = new Map<number, PendingAttempt>();
  private nextId: number;

  constructor(env: { readonly clock: Clock; readonly random: Random }, ports: { readonly rpc: RpcChannel }) {
    this.clock = env.clock;
    this.rpc = ports.rpc;
    this.deadlines = new Deadlines(env.clock, (id) => this.giveUp(id, "no answer before the deadline"));
    // Ids of a restarted process are other ids than those its peers may still be working on.
    this.nextId = env.random.below(2 ** 31);
  }

  call(node: NodeId, request: RemoteRequest, signal?: CancelSignal): Promise<AttemptResult> {
    const id = this.nextId++;
    if (!this.rpc.send(node, { kind: "request", id, ...request })) return Promise.resolve(this.notSent(node, request));
    return new Promise((resolve) => {
      const deadline = this.deadlines.add(id, this.clock.nowMs() + request.timeoutMs);
      const abort = (): void => this.giveUp(id, "the caller gave up");
      signal?.addEventListener("abort", abort, { once: true });
      this.pending.set(id, {
        node,
        request,
        end: (result) => {
          this.pending.delete(id);
          this.deadlines.clear(deadline);
          signal?.removeEventListener("abort", abort);
          resolve(result);
        },
      });
    });
  }

  receiveReply(from: NodeId, id: number, reply: IncomingReply): void {
    const attempt = this.pending.get(id);
    if (attempt?.node !== from) return this.rpc.metrics.repliesDropped.add(1, { reason: "late" });
    attempt.end(attemptResultOf(reply));
  }

  /** Everything sent to this node and not answered is lost now: waiting for the deadline would help nobody. */
  failPeer(node: NodeId): void {
    for (const attempt of [...this.pending.values()]) {
      if (attempt.node === node) attempt.end(noAnswer(attempt, `the connection to ${node} was lost after sending`));
    }
  }

  private notSent(node: NodeId, { method, instance }: RemoteRequest): AttemptResult {
    const isFull = this.rpc.isConnectedTo(node);
    const reason = isFull ? "too much waits to be sent there already" : "no connection";
    const message = `did not send ${method} to ${instance} on ${node}: ${reason}`;
    return { kind: "not-sent", error: new AetherError(isFull ? "E_OVERLOADED" : "E_UNAVAILABLE", message).toBody() };
  }

  private giveUp(id: number, reason: string): void {
    const attempt = this.pending.get(id);
    if (attempt === undefined) return;
    // At best effort: without a connection the callee learns it from the loss of the connection.
    this.rpc.send(attempt.node, { kind: "cancel", id });
    attempt.end(noAnswer(attempt, reason));
  }
}

/** How a reply of an instance, here or elsewhere, counts. */
export function attemptResultOf(reply: IncomingReply): AttemptResult {
  if (reply.kind !== "failed") return reply;
  // A worker that died, or a handler still running at the deadline: nobody knows what it did.
  return reply.error.code === "E_TIMEOUT" ? { kind: "no-answer", error: reply.error } : reply;
}

function noAnswer(attempt: PendingAttempt, reason: string): AttemptResult {
  const message = `sent ${attempt.request.method} to ${attempt.request.instance} on ${attempt.node}: ${reason}`;
  return { kind: "no-answer", error: new AetherError("E_TIMEOUT", message, { outcome: "unknown" }).toBody() };
}

// Owns: calls of peers under way on this node: handed to their instance, answered once, cancelled when their caller
// gives up or its connection is lost. Does not own: what runs them (RunningInstances).
import { Cancellation } from "../base/cancellation.ts";
import { AetherError, toAetherError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { Clock } from "../env/clock.ts";
import { CALL_BYTES_MAX, plainRefusalError, toPlain, type PlainRefusal } from "../slices/core/plain-data.ts";
import type { IncomingReply, RunningInstances } from "../slices/host/running-instances.ts";
import type { CallRequest } from "./core/call-codec.ts";
import { HeldReplies } from "./held-replies.ts";
import { encodeReadableReply, withheld, type RpcChannel } from "./rpc-channel.ts";

export interface DispatcherPorts {
  readonly rpc: RpcChannel;
  readonly local: RunningInstances;
}

export interface DispatcherConfig {
  readonly peerCallsMax: number;
  readonly peerCallBytesMax: number;
}

export class Dispatcher {
  private readonly ports: DispatcherPorts;
  private readonly config: DispatcherConfig;
  /** By peer, then by the peer's id of the call. */
  private readonly underWay = new Map<NodeId, Map<number, Cancellation>>();
  /** Of requests whose handler has not ended, of all peers: also of those whose caller has left. */
  private bytes = 0;
  private readonly held: HeldReplies;

  constructor(env: { readonly clock: Clock }, ports: DispatcherPorts, config: DispatcherConfig) {
    this.ports = ports;
    this.config = config;
    this.held = new HeldReplies(env.clock, (to, bytes) => ports.rpc.sendEncoded(to, bytes));
  }

  /** `bytes`: the size of the request as it came. */
  receiveRequest(from: NodeId, request: CallRequest, bytes: number): void {
    const calls = this.callsOf(from);
    if (calls.has(request.id)) return this.ports.rpc.metrics.refused.add(1);
    const refusal = this.refusalOf(from, calls.size, bytes);
    if (refusal !== undefined) return this.reply(from, request.id, refusal);
    // A copy: bytes in it are views of the frame, which all of them would keep in memory.
    const input = toPlain(request.input, CALL_BYTES_MAX);
    if (input.kind !== "plain") return this.reply(from, request.id, unusable(request, input));
    const cancellation = new Cancellation();
    calls.set(request.id, cancellation);
    this.bytes += bytes;
    const finish = (reply: IncomingReply): void => {
      this.bytes -= bytes;
      // Another one, or none: the caller has left meanwhile, or its connection is another one.
      if (calls.get(request.id) !== cancellation) return;
      calls.delete(request.id);
      this.reply(from, request.id, reply);
    };
    // `invoke` never rejects; if it does all the same, that is one call's misfortune and not the node's.
    const call = { ...request, input: input.value };
    this.ports.local.invoke(call, cancellation).then(finish, (thrown: unknown) => finish(broken(thrown)));
  }

  receiveCancel(from: NodeId, id: number): void {
    const calls = this.underWay.get(from);
    const cancellation = calls?.get(id);
    calls?.delete(id);
    this.held.drop(from, id);
    cancellation?.abort(new AetherError("E_TIMEOUT", `the caller on ${from} gave up`));
  }

  /** Nobody waits for these answers any more. */
  dropPeer(node: NodeId): void {
    const calls = this.underWay.get(node);
    this.underWay.delete(node);
    this.held.dropPeer(node);
    if (calls === undefined) return;
    const cancellations = [...calls.values()];
    calls.clear();
    const reason = new AetherError("E_TIMEOUT", `the connection to the caller's node ${node} was lost`);
    for (const cancellation of cancellations) cancellation.abort(reason);
  }

  /** One call is taken however large it is: its own limit is another one. */
  private refusalOf(from: NodeId, calls: number, bytes: number): IncomingReply | undefined {
    const { peerCallsMax, peerCallBytesMax } = this.config;
    if (calls >= peerCallsMax) return overloaded(`${peerCallsMax} calls from ${from} are`);
    const held = this.bytes + this.held.bytes;
    if (held === 0 || held + bytes <= peerCallBytesMax) return undefined;
    return overloaded(`calls of other nodes with ${held} bytes of input, and of answers that wait to be sent, are`);
  }

  private callsOf(node: NodeId): Map<number, Cancellation> {
    const known = this.underWay.get(node);
    if (known !== undefined) return known;
    const calls = new Map<number, Cancellation>();
    this.underWay.set(node, calls);
    return calls;
  }

  private reply(to: NodeId, id: number, reply: IncomingReply): void {
    const bytes = encodeReadableReply(id, reply);
    // Behind those that wait already, or a large one would wait for ever.
    if (!this.held.isHolding(to) && this.ports.rpc.sendEncoded(to, bytes)) return;
    if (this.hasRoomFor(bytes)) return this.held.hold(to, id, bytes);
    const excuse = encodeReadableReply(id, withheld(reply));
    if (this.hasRoomFor(excuse)) return this.held.hold(to, id, excuse);
    this.ports.rpc.metrics.repliesDropped.add(1, { reason: "not-sent" });
  }

  private hasRoomFor({ byteLength }: Uint8Array): boolean {
    return this.bytes + this.held.bytes + byteLength <= this.config.peerCallBytesMax;
  }
}

function overloaded(what: string): IncomingReply {
  const message = `${what} under way on this node already`;
  return { kind: "not-started", error: new AetherError("E_OVERLOADED", message).toBody() };
}

function unusable({ method, instance }: CallRequest, refusal: PlainRefusal): IncomingReply {
  return { kind: "not-started", error: plainRefusalError(`did not call ${method} of ${instance}`, refusal).toBody() };
}

function broken(thrown: unknown): IncomingReply {
  return { kind: "failed", error: toAetherError(thrown).toBody() };
}

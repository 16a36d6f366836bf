// Owns: putting this area together: what calls out and what answers share one channel.
import type { NodeId } from "../base/ids.ts";
import type { EndpointLookup } from "../cluster/endpoints/endpoint-lookup.ts";
import type { CallTally } from "../cluster/rollouts/call-tallies.ts";
import type { PeerMessaging } from "../net/peer-messaging.ts";
import type { CallMeter } from "../slices/host/call-meter.ts";
import type { RunningInstances } from "../slices/host/running-instances.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { InvocationConfig } from "./invocation-config.ts";
import { Invoker, type InvokerEnv } from "./invoker.ts";
import { RemoteCaller } from "./remote-caller.ts";
import { RpcChannel } from "./rpc-channel.ts";
import { TracedInstances } from "./traced-instances.ts";

export interface InvocationPorts {
  readonly lookup: EndpointLookup;
  readonly local: RunningInstances;
  readonly messaging: PeerMessaging;
  readonly self: NodeId;
  /** Told of every attempt. */
  readonly tally: CallTally;
  /** Counts the calls that end. */
  readonly made: CallMeter;
}

/** Attaches the `rpc` channel; call it before the network starts. */
export function createInvocation(env: InvokerEnv, ports: InvocationPorts, config: InvocationConfig): Invoker {
  const { lookup, messaging, self, tally, made } = ports;
  const local = new TracedInstances(env.telemetry, ports);
  const rpc = new RpcChannel(env, { messaging });
  const remote = new RemoteCaller({ clock: env.clock, random: env.random.fork("rpc") }, { rpc });
  const dispatcher = new Dispatcher(env, { rpc, local }, config);
  rpc.attach({
    onRequest: (from, request, bytes) => dispatcher.receiveRequest(from, request, bytes),
    onCancel: (from, id) => dispatcher.receiveCancel(from, id),
    onReply: (from, id, reply) => remote.receiveReply(from, id, reply),
    onPeerDown: (node) => {
      remote.failPeer(node);
      dispatcher.dropPeer(node);
    },
  });
  return new Invoker(env, { lookup, local, remote, self, tally, made }, config);
}

// Owns: routers on virtual time and a virtual network.
import { parseNodeId, type NodeId } from "../../../../src/base/ids.ts";
import { SeededRandom } from "../../../../src/base/random.ts";
import { MiB } from "../../../../src/base/units.ts";
import { MessageRouter, type MessageRouterConfig } from "../../../../src/net/message-router.ts";
import { createRecordingTelemetry, type RecordingTelemetry } from "./recording-telemetry.ts";
import { VirtualClock } from "./virtual-clock.ts";
import { VirtualNetwork } from "./virtual-network.ts";

export const PEERS: ReadonlyMap<NodeId, string> = new Map(
  ["n1", "n2", "n3"].map((name) => [parseNodeId(name), `ws://${name}:1`]),
);

export interface VirtualNode {
  readonly router: MessageRouter;
  readonly telemetry: RecordingTelemetry;
  readonly events: readonly string[];
}

interface OpenOptions extends Partial<MessageRouterConfig> {
  readonly peers?: ReadonlyMap<NodeId, string>;
}

export class VirtualCluster {
  readonly clock = new VirtualClock();
  readonly network = new VirtualNetwork();
  private seed = 1;

  async open(name: string, { peers = PEERS, ...options }: OpenOptions = {}): Promise<VirtualNode> {
    const telemetry = createRecordingTelemetry();
    const env = { clock: this.clock, network: this.network, random: new SeededRandom(this.seed++), telemetry };
    const router = await MessageRouter.open(env, {
      cluster: "test",
      node: parseNodeId(name),
      listen: `ws://${name}:1`,
      join: [],
      frameBytesMax: 8 * MiB,
      ...options,
    });
    router.setPeers(new Map([...peers].map(([peer, url]) => [peer, [url]])));
    const events: string[] = [];
    router.onPeer(({ kind, node }) => events.push(`${kind} ${node}`));
    return { router, telemetry, events };
  }
}

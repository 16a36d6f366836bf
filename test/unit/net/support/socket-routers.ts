// Owns: routers over real loopback sockets, and waiting for what they report.
import { parseNodeId, type NodeId } from "../../../../src/base/ids.ts";
import { ResourceStack } from "../../../../src/base/resource-stack.ts";
import { SeededRandom } from "../../../../src/base/random.ts";
import { MiB } from "../../../../src/base/units.ts";
import { MessageRouter, type MessageRouterConfig } from "../../../../src/net/message-router.ts";
import type { PeerEvent } from "../../../../src/net/peer-messaging.ts";
import { createWsNetwork } from "../../../../src/net/ws-adapter.ts";
import { createRealClock } from "../../../../src/node/env-clock-adapter.ts";
import { createRecordingTelemetry, type RecordingTelemetry } from "./recording-telemetry.ts";

export interface TestNode {
  readonly node: NodeId;
  readonly router: MessageRouter;
  readonly telemetry: RecordingTelemetry;
  /** All peer events so far, as text: `up n2`. */
  readonly events: readonly string[];
  /** Resolves when `event` was reported for the `times`-th time. */
  reported(event: string, times?: number): Promise<void>;
}

interface OpenOptions extends Partial<MessageRouterConfig> {
  /** Besides the node itself; all nodes opened before it starts when absent. */
  readonly peers?: ReadonlyMap<NodeId, string>;
}

export class SocketCluster {
  private readonly resources = new ResourceStack();
  private readonly addresses = new Map<NodeId, readonly string[]>();
  private seed = 1;

  /** Opens a router on a free port. Its peers are all nodes opened before they start. */
  async open(name: string, { peers, ...options }: OpenOptions = {}): Promise<TestNode> {
    const node = parseNodeId(name);
    const telemetry = createRecordingTelemetry();
    const network = createWsNetwork(telemetry);
    const env = { clock: createRealClock(), random: new SeededRandom(this.seed++), network, telemetry };
    const router = await MessageRouter.open(env, {
      cluster: "test",
      node,
      listen: "ws://127.0.0.1:0",
      join: [],
      frameBytesMax: 8 * MiB,
      ...options,
    });
    if (!this.addresses.has(node)) this.addresses.set(node, [router.url]);
    const others = [...(peers ?? [])].map(([peer, url]): [NodeId, readonly string[]] => [peer, [url]]);
    router.setPeers(peers === undefined ? this.addresses : new Map([...others, [node, [router.url]]]));
    this.resources.own(router);
    return { node, router, telemetry, ...watchPeers(router) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resources.close();
  }
}

function watchPeers(router: MessageRouter): Pick<TestNode, "events" | "reported"> {
  const events: string[] = [];
  const checks = new Set<() => void>();
  router.onPeer((event: PeerEvent) => {
    events.push(`${event.kind} ${event.node}`);
    for (const check of checks) check();
  });
  const reported = (event: string, times = 1): Promise<void> =>
    new Promise((resolve) => {
      const check = (): void => {
        if (events.filter((text) => text === event).length < times) return;
        checks.delete(check);
        resolve();
      };
      checks.add(check);
      check();
    });
  return { events, reported };
}

/** Starts them all and waits until each is connected to every other. */
export async function startMesh(nodes: readonly TestNode[]): Promise<void> {
  for (const { router } of nodes) router.start();
  const pairs = nodes.flatMap((a) => nodes.filter((b) => b !== a).map((b) => a.reported(`up ${b.node}`)));
  await Promise.all(pairs);
}

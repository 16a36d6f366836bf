import { vi } from "vitest";
import { present } from "../../../src/base/assert.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import { Machine } from "../../../src/testkit/sim/machine.ts";
import { SimNetwork } from "../../../src/testkit/sim/sim-network.ts";
import { World } from "../../../src/testkit/sim/world.ts";
import { SocketCluster, type TestNode } from "../../unit/net/support/socket-routers.ts";
import { type MeshUnderTest, testPeerMessaging } from "./peer-messaging-suite.ts";

const LIMIT_MS = 30_000;

testPeerMessaging("sockets", (): MeshUnderTest => {
  const cluster = new SocketCluster();
  const addresses = new Map<NodeId, string>();
  const nodes = new Map<NodeId, TestNode>();
  const waiting = new Set<TestNode>();
  return {
    open: async (node, attach) => {
      const listen = addresses.get(node);
      const opened = await cluster.open(node, listen === undefined ? {} : { listen });
      addresses.set(node, opened.router.url);
      nodes.set(node, opened);
      waiting.add(opened);
      attach(opened.router);
    },
    start: () => {
      for (const { router } of waiting) router.start();
      waiting.clear();
    },
    kill: (node) => present(nodes.get(node), "it was opened").router.close(),
    until: async (isDone) => {
      await vi.waitUntil(isDone, { timeout: LIMIT_MS, interval: 2 });
    },
    close: () => cluster[Symbol.asyncDispose](),
  };
});

testPeerMessaging("the simulated network", (): MeshUnderTest => {
  const world = new World(7);
  const network = new SimNetwork(world);
  const machines = new Map<NodeId, Machine>();
  const waiting = new Set<Machine>();
  return {
    open: (node, attach) => {
      const machine = new Machine(world, network, node, ({ messaging }) => {
        attach(messaging);
        return Promise.resolve();
      });
      machines.set(node, machine);
      waiting.add(machine);
      return Promise.resolve();
    },
    start: () => {
      for (const machine of waiting) machine.boot();
      waiting.clear();
    },
    kill: (node) => {
      present(machines.get(node), "it was opened").crash();
      return Promise.resolve();
    },
    until: async (isDone) => {
      if (!(await world.run(isDone, world.nowMs + LIMIT_MS))) throw new RangeError("it never came to be");
    },
    close: () => Promise.resolve(),
  };
});

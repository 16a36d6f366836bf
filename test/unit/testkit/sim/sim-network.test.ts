import { describe, expect, test } from "vitest";
import { parseNodeId, type NodeId } from "../../../../src/base/ids.ts";
import { Machine } from "../../../../src/testkit/sim/machine.ts";
import { CALM_LINKS, SimNetwork, type LinkProfile } from "../../../../src/testkit/sim/sim-network.ts";
import { World } from "../../../../src/testkit/sim/world.ts";

const A = parseNodeId("a");
const B = parseNodeId("b");

/** Two machines; `a` sends the bytes 0 to 99, one per millisecond, as long as it is connected. */
interface Pair {
  readonly world: World;
  readonly network: SimNetwork;
  readonly machines: readonly [Machine, Machine];
  readonly received: number[];
  readonly peerEvents: string[];
}

function createPair(seed: number, profile: LinkProfile = CALM_LINKS): Pair {
  const world = new World(seed);
  const network = new SimNetwork(world);
  network.profile = profile;
  const received: number[] = [];
  const peerEvents: string[] = [];
  const boot = (node: NodeId): Machine =>
    new Machine(world, network, node, ({ messaging, clock }) => {
      const channel = messaging.channel("consensus");
      channel.onMessage((_from, payload) => received.push(payload[0] ?? -1));
      messaging.onPeer((event) => peerEvents.push(`${node} sees ${event.node} ${event.kind}`));
      let next = 0;
      const sendNext = (): void => {
        if (messaging.connected.has(B)) channel.send(B, Uint8Array.of(next++));
        if (next < 100) clock.setTimer(1, sendNext);
      };
      if (node === A) sendNext();
      return Promise.resolve();
    });
  const machines = [boot(A), boot(B)] as const;
  for (const machine of machines) machine.boot();
  return { world, network, machines, received, peerEvents };
}

const ALL = Array.from({ length: 100 }, (_, index) => index);

describe("the simulated network", () => {
  test("delivers everything in order when nothing is wrong", async () => {
    const pair = createPair(1);
    await pair.world.run(() => false, 500);
    expect(pair.received).toEqual(ALL);
    expect(pair.peerEvents).toEqual(["a sees b up", "b sees a up"]);
  });

  test("loses, repeats and reorders messages as the profile says", async () => {
    const lossy = createPair(1, { ...CALM_LINKS, lossRate: 0.3 });
    const repeating = createPair(1, { ...CALM_LINKS, duplicateRate: 0.3 });
    const reordering = createPair(1, { ...CALM_LINKS, reorderRate: 1, delayMsMean: 20 });
    for (const { world } of [lossy, repeating, reordering]) await world.run(() => false, 1_000);
    expect(lossy.received.length).toBeLessThan(100);
    expect(repeating.received.length).toBeGreaterThan(100);
    expect(new Set(repeating.received).size).toBe(100);
    expect(reordering.received).not.toEqual(ALL);
    expect([...reordering.received].sort((a, b) => a - b)).toEqual(ALL);
  });

  test("a blocked direction delivers nothing, and both ends lose the connection until it is healed", async () => {
    const pair = createPair(1);
    await pair.world.run(() => pair.received.length === 10, 500);
    pair.network.block(A, B);
    await pair.world.run(() => false, 5_000);
    expect(pair.received).toHaveLength(10);
    expect(pair.peerEvents.slice(2).sort()).toEqual(["a sees b down", "b sees a down"]);
    pair.network.unblockAll();
    await pair.world.run(() => false, 6_000);
    expect(pair.peerEvents.slice(4)).toEqual(["a sees b up", "b sees a up"]);
    // What was sent meanwhile was lost with the connection.
    expect(pair.received).toHaveLength(10);
  });

  test("a crash is noticed by the peer, and a restart connects again", async () => {
    const pair = createPair(2);
    await pair.world.run(() => pair.received.length === 10, 500);
    pair.machines[1].crash();
    await pair.world.run(() => false, 5_000);
    pair.machines[1].boot();
    await pair.world.run(() => false, 6_000);
    expect(pair.peerEvents.slice(2)).toEqual(["a sees b down", "a sees b up", "b sees a up"]);
  });

  test("a paused process gets its messages when it goes on", async () => {
    const pair = createPair(1);
    await pair.world.run(() => pair.received.length === 10, 500);
    const resumesAtMs = pair.world.nowMs + 200;
    pair.machines[1].pause(200);
    await pair.world.run(() => false, resumesAtMs - 1);
    expect(pair.received).toHaveLength(10);
    await pair.world.run(() => false, resumesAtMs + 100);
    expect(pair.received).toEqual(ALL);
  });

  test("the same seed gives the same trace, another seed another one", async () => {
    const noisy = { ...CALM_LINKS, lossRate: 0.1, duplicateRate: 0.1, reorderRate: 0.5 };
    const pairs = [createPair(7, noisy), createPair(7, noisy), createPair(8, noisy)];
    for (const { world } of pairs) await world.run(() => false, 500);
    const hashes = pairs.map(({ world }) => world.trace.hash);
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });
});

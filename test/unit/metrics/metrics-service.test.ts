// Owns: metrics on their way between several nodes, over messaging in memory, on a clock that stands still.
import { describe, expect, test } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import { encode } from "../../../src/base/codec.ts";
import type { NodeStatus, NodeView } from "../../../src/cluster/membership/membership-service.ts";
import { CallTallies } from "../../../src/metrics/call-tallies.ts";
import { Collector } from "../../../src/metrics/collector.ts";
import type { KeptSnapshot } from "../../../src/metrics/cluster-metrics.ts";
import { MetricsService } from "../../../src/metrics/metrics-service.ts";
import { MetricsStore } from "../../../src/metrics/metrics-store.ts";
import { SILENT_TELEMETRY } from "../../support/cluster-world.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryHub, type MemoryMessaging } from "../../support/memory-messaging.ts";

interface Leading {
  leader: NodeId | undefined;
  epoch: number;
}

class Fleet {
  readonly clock = new ManualClock();
  readonly hub = new MemoryHub(this.clock);
  readonly nodes = new Map<string, MetricsNode>();
  readonly leading: Leading = { leader: parseNodeId("n1"), epoch: 1 };
  readonly statuses = new Map<string, NodeStatus>();

  /** `n1` leads; the others report half a second before it makes its snapshot. */
  static async open(names: readonly string[]): Promise<Fleet> {
    const fleet = new Fleet();
    for (const name of names) fleet.statuses.set(name, "on-duty");
    for (const name of names) fleet.nodes.set(name, new MetricsNode(fleet, parseNodeId(name)));
    for (const [name, { service }] of fleet.nodes) if (name !== "n1") service.start();
    await fleet.pass(0.5);
    fleet.node("n1").service.start();
    return fleet;
  }

  node(name: string): MetricsNode {
    return present(this.nodes.get(name), "the node is there");
  }

  /** Seconds pass, and what was sent arrives. */
  async pass(seconds: number): Promise<void> {
    await this.clock.advance(seconds * 1_000);
  }
}

class MetricsNode {
  readonly store: MetricsStore;
  readonly made = new CallTallies("made");
  readonly service: MetricsService;
  readonly messaging: MemoryMessaging;
  refused = 0;
  cpuMs = 0;
  /** What the leader said beside its numbers: so often. */
  words = 0;

  constructor(fleet: Fleet, id: NodeId, collect: "on" | "off" = "on") {
    const { clock, leading } = fleet;
    this.store = new MetricsStore(clock);
    this.messaging = fleet.hub.join(id);
    const collector = new Collector({
      process: {
        read: () => ({
          cpuMs: this.cpuMs, loopBusyMs: 0, loopDelayMsMax: 1, heapUsedBytes: 10, rssBytes: 100, disk: undefined,
        }),
      },
      made: this.made,
      handled: new CallTallies("handled"),
      instances: () => [],
      facts: [],
    }, clock.nowMs());
    const refused = { add: (count: number) => void (this.refused += count) };
    const telemetry = { ...SILENT_TELEMETRY, counter: () => refused };
    this.service = new MetricsService({ clock, telemetry }, {
      messaging: this.messaging,
      leadership: {
        current: () => leading.leader === undefined ? undefined : { node: leading.leader, epoch: leading.epoch },
        get isLeader() {
          return leading.leader === id;
        },
      },
      membership: {
        get nodes() {
          return [...fleet.statuses].map(([node, status]) => ({ node, status }) as NodeView);
        },
      },
      collector,
      store: this.store,
      word: {
        speak: () => {
          this.words += 1;
          return { alerts: [], said: [], notices: [] };
        },
        hear: () => void (this.words += 1),
      },
    }, { node: id, collect });
  }

  get latest(): KeptSnapshot {
    return present(this.store.latest(), "a snapshot has come");
  }
}

describe("metrics on their way", () => {
  test("every node has the leader's snapshot of all nodes", async () => {
    const fleet = await Fleet.open(["n1", "n2", "n3"]);
    await fleet.pass(3);
    for (const { latest } of fleet.nodes.values()) {
      expect(latest.isStale).toBe(false);
      expect(latest.snapshot.nodes.map(({ node, isStale }) => [node, isStale])).toEqual(
        [["n1", false], ["n2", false], ["n3", false]],
      );
      expect(latest.cluster).toMatchObject({ rssBytes: 300, loopDelayMsMax: 1 });
    }
  });

  test("who is told of a snapshot finds what its leader says with it, on the leader and elsewhere", async () => {
    const fleet = await Fleet.open(["n1", "n2"]);
    const seen = ["n1", "n2"].map((name) => {
      const node = fleet.node(name);
      const found: boolean[] = [];
      node.store.onSnapshot(() => found.push(node.words > (node.latest.snapshot.seq)));
      return found;
    });
    await fleet.pass(3);
    for (const found of seen) expect(found).toEqual([true, true, true]);
  });

  test("calls of all nodes are rates and durations of the cluster", async () => {
    const fleet = await Fleet.open(["n1", "n2", "n3"]);
    await fleet.pass(3);
    for (const name of ["n1", "n2"]) {
      const { made } = fleet.node(name);
      for (let call = 0; call < 10; call++) made.note("shop", "buy", call === 0 ? "failed" : "ok", 100);
    }
    await fleet.pass(1.5);
    const { snapshot, cluster } = fleet.node("n3").latest;
    expect(cluster).toMatchObject({ callsPerSecond: 20, callErrorsPerSecond: 2 });
    expect(snapshot.methods).toMatchObject([
      { slice: "shop", method: "buy", direction: "made", callsPerSecond: 20, errorsPerSecond: 2 },
    ]);
    expect(snapshot.methods[0]?.durations.count).toBe(20);
    expect(fleet.node("n3").store.over("method/shop/buy/made/p99Ms", 5_000, "max")).toBeCloseTo(100, -1);
    await fleet.pass(2);
    expect(fleet.node("n3").latest.cluster).toMatchObject({ callsPerSecond: 0 });
  });

  test("a node that falls silent is shown as stale, and is in no sum (M1)", async () => {
    const fleet = await Fleet.open(["n1", "n2", "n3"]);
    await fleet.pass(3);
    fleet.node("n2").service.close();
    await fleet.pass(5);
    const { snapshot, cluster } = fleet.node("n3").latest;
    expect(snapshot.nodes.find(({ node }) => node === "n2")).toMatchObject({ isStale: true });
    expect(cluster.rssBytes).toBe(200);
    fleet.statuses.set("n2", "gone");
    await fleet.pass(2);
    expect(fleet.node("n3").latest.snapshot.nodes.map(({ node }) => node)).toEqual(["n1", "n3"]);
  });

  test("a node that never reported is shown as stale", async () => {
    const fleet = await Fleet.open(["n1", "n2"]);
    fleet.statuses.set("n9", "joining");
    await fleet.pass(3);
    expect(fleet.node("n2").latest.snapshot.nodes.at(-1)).toEqual(
      { node: "n9", ageMs: undefined, isStale: true, facts: {} },
    );
  });

  test("when the leader changes every node keeps its window and goes on with the next one's snapshots", async () => {
    const fleet = await Fleet.open(["n1", "n2", "n3"]);
    await fleet.pass(30);
    fleet.node("n1").service.close();
    fleet.leading.leader = undefined;
    await fleet.pass(5);
    expect(fleet.node("n3").latest.isStale).toBe(true);
    expect(fleet.node("n3").store.own()?.facts.rssBytes).toBe(100);
    Object.assign(fleet.leading, { leader: parseNodeId("n2"), epoch: 2 });
    await fleet.pass(5);
    const { latest, store } = fleet.node("n3");
    expect(latest).toMatchObject({ isStale: false, snapshot: { leader: "n2", epoch: 2 } });
    const points = store.history("cluster/rssBytes", 60_000);
    expect(points.length).toBeGreaterThan(30);
    expect(points.slice(0, 25).every(({ value }) => value === 300)).toBe(true);
    expect(points.at(-1)?.value).toBe(200);
  });

  test("what is no report and no snapshot is dropped and counted, and the rest goes on (M4)", async () => {
    const fleet = await Fleet.open(["n1", "n2"]);
    await fleet.pass(3);
    const channel = fleet.node("n2").messaging.channel("metrics");
    const garbage = [
      new Uint8Array(0),
      Uint8Array.of(0xff, 0, 1),
      encode([1, 0]),
      encode([1, 0, -1, 1_000, {}, [], [], 0]),
      encode([1, 0, 1, 1_000, { cpuCores: "much" }, [], [], 0]),
      encode([1, 0, 1, 1_000, {}, [["shop", "buy", true, 1, 0, Uint8Array.of(1)]], [], 0]),
      encode([1, 1, "not a node!", 1, 1, [], [], [], 0]),
      encode([1, 7, 1]),
      encode([2, 0, 1, 1_000, {}, [], [], 0]),
      encode({ kind: "report" }),
    ];
    for (const payload of garbage) channel.send(parseNodeId("n1"), payload);
    await fleet.pass(2);
    expect(fleet.node("n1").refused).toBe(garbage.length);
    expect(fleet.node("n1").latest.snapshot.nodes.every(({ isStale }) => !isStale)).toBe(true);
  });

  test("facts and fields of a newer build are left out, and what is known of its report is taken", async () => {
    const fleet = await Fleet.open(["n1", "n2"]);
    fleet.node("n2").service.close();
    const channel = fleet.node("n2").messaging.channel("metrics");
    channel.send(parseNodeId("n1"), encode([1, 0, 5, 1_000, { rssBytes: 7, tomorrow: 1 }, [], [], 0, "more"]));
    await fleet.pass(1.5);
    expect(fleet.node("n1").latest.snapshot.nodes[1]).toMatchObject({ node: "n2", facts: { rssBytes: 7 } });
    expect(fleet.node("n1").latest.snapshot.nodes[1]?.facts).not.toHaveProperty("tomorrow");
  });

  test("nobody believes a snapshot of a node that does not lead", async () => {
    const fleet = await Fleet.open(["n1", "n2", "n3"]);
    await fleet.pass(3);
    const before = fleet.node("n3").latest.snapshot.seq;
    fleet.node("n2").messaging.channel("metrics").send(parseNodeId("n3"), encode([1, 1, "n2", 99, 0, [], [], [], 0]));
    await fleet.pass(0.1);
    expect(fleet.node("n3").latest.snapshot).toMatchObject({ leader: "n1", seq: before });
    expect(fleet.node("n3").refused).toBe(0);
  });

  test("a node that is to tell nothing still knows of itself, and has what others tell", async () => {
    const fleet = await Fleet.open(["n1", "n2"]);
    fleet.statuses.set("n3", "on-duty");
    const quiet = new MetricsNode(fleet, parseNodeId("n3"), "off");
    quiet.service.start();
    await fleet.pass(3);
    expect(quiet.store.own()?.facts.rssBytes).toBe(100);
    expect(quiet.latest.snapshot.nodes.map(({ node, isStale }) => [node, isStale])).toEqual(
      [["n1", false], ["n2", false], ["n3", true]],
    );
  });
});

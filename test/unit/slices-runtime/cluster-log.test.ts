// Owns: the lines of a slice from several nodes, over messaging in memory, on a clock that stands still.
import { describe, expect, test } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { encode } from "../../../src/base/codec.ts";
import { parseNodeId, type NodeId } from "../../../src/base/ids.ts";
import { LINES_ANSWER_MAX, RecentLines } from "../../../src/slices/core/recent-lines.ts";
import {
  ClusterLog, type ClusterLines, LOG_ANSWER_MS_MAX, LOG_READS_MAX,
} from "../../../src/slices/host/cluster-log.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryHub, type MemoryMessaging } from "../../support/memory-messaging.ts";

const INSTANCE = "demo:orders:1.0.0/0";

interface TalkingNode {
  readonly lines: RecentLines;
  readonly log: ClusterLog | undefined;
  readonly messaging: MemoryMessaging;
}

class Fleet {
  readonly clock = new ManualClock();
  readonly hub = new MemoryHub(this.clock);
  readonly ids: readonly NodeId[];
  private readonly nodes = new Map<string, TalkingNode>();

  /** `deaf`: in the cluster, and of a build that knows nothing of such questions. */
  constructor(names: readonly string[], deaf: readonly string[] = []) {
    this.ids = names.map((name) => parseNodeId(name));
    for (const id of this.ids) {
      const messaging = this.hub.join(id);
      const lines = new RecentLines(() => true);
      const ports = {
        messaging,
        nodes: () => this.ids,
        readLines: (slice: string, query: Parameters<RecentLines["read"]>[1]) =>
          (lines.has(slice) ? lines.read(slice, query) : undefined),
      };
      const log = deaf.includes(id) ? undefined : new ClusterLog({ clock: this.clock }, ports, id);
      this.nodes.set(id, { lines, log, messaging });
    }
  }

  say(node: string, atMs: number, text: string): void {
    this.of(node).lines.add("orders", INSTANCE, { atMs, level: "info", text });
  }

  read(node: string, linesMax = 10): Promise<ClusterLines> {
    return present(this.of(node).log, "it knows such questions").read("orders", linesMax);
  }

  of(node: string): TalkingNode {
    return present(this.nodes.get(node), "the node is there");
  }

  /** What was sent arrives. */
  async pass(ms = 0): Promise<void> {
    await this.clock.advance(ms);
  }
}

const textsOf = ({ lines }: ClusterLines): readonly string[] => lines.map(({ node, text }) => `${node} ${text}`);

describe("the log of a slice on all nodes", () => {
  test("is that of each, in the order of their clocks, the latest of them", async () => {
    const fleet = new Fleet(["n1", "n2", "n3"]);
    fleet.say("n1", 1, "a");
    fleet.say("n2", 2, "b");
    fleet.say("n1", 3, "c");
    const all = fleet.read("n3");
    const latest = fleet.read("n3", 2);
    await fleet.pass();
    expect(textsOf(await all)).toEqual(["n1 a", "n2 b", "n1 c"]);
    expect(await all).toMatchObject({ silent: [], isKnown: true });
    expect(textsOf(await latest)).toEqual(["n2 b", "n1 c"]);
  });

  test("leaves out a node that is away, at once; one that says nothing, after a while; and names both", async () => {
    const fleet = new Fleet(["n1", "n2", "n3", "n4"], ["n3"]);
    fleet.say("n1", 1, "a");
    fleet.say("n4", 2, "b");
    fleet.hub.cut(parseNodeId("n2"));
    const reading = fleet.read("n1");
    await fleet.pass(LOG_ANSWER_MS_MAX);
    expect(textsOf(await reading)).toEqual(["n1 a", "n4 b"]);
    expect((await reading).silent).toEqual(["n2", "n3"]);
  });

  test("does not wait for a node that is lost while it is asked", async () => {
    const fleet = new Fleet(["n1", "n2"], ["n2"]);
    const reading = fleet.read("n1");
    fleet.hub.cut(parseNodeId("n2"));
    await fleet.pass();
    expect(await reading).toEqual({ lines: [], silent: ["n2"], isKnown: false });
  });

  test("is refused to those who are too many, and to nobody once the others have theirs", async () => {
    const fleet = new Fleet(["n1", "n2"]);
    const readings = Array.from({ length: LOG_READS_MAX }, () => fleet.read("n1"));
    await expect(fleet.read("n1")).rejects.toMatchObject({ code: "E_OVERLOADED", details: { limit: LOG_READS_MAX } });
    await fleet.pass();
    await Promise.all(readings);
    const again = fleet.read("n1");
    await fleet.pass();
    expect(await again).toMatchObject({ silent: [] });
  });

  test("has 1 MiB at most, however many nodes say much", async () => {
    const fleet = new Fleet(["n1", "n2", "n3"]);
    for (const node of ["n1", "n2", "n3"]) {
      for (let index = 0; index < 30; index++) {
        const line = { atMs: index, level: "info", text: "x".repeat(60_000) } as const;
        fleet.of(node).lines.add("orders", `demo:orders:1.0.0/${index}`, line);
      }
    }
    const reading = fleet.read("n1", LINES_ANSWER_MAX);
    await fleet.pass();
    const { lines, silent } = await reading;
    expect(silent).toEqual([]);
    expect(lines.length).toBe(17);
    expect(lines.at(-1)?.atMs).toBe(29);
  });

  test("takes nothing that nobody asked for, and refuses what is no such message", async () => {
    const fleet = new Fleet(["n1", "n2", "n3"], ["n3"]);
    const stranger = fleet.of("n3").messaging.channel("logs");
    const line = { atMs: 1, level: "info", text: "made up", instance: INSTANCE, number: 1 };
    const reading = fleet.read("n1");
    const n1 = parseNodeId("n1");
    // As an answer of n2, whose question has the number 1.
    stranger.send(n1, encode({ kind: "lines", id: 1, lines: [line] }));
    stranger.send(n1, encode({ kind: "ask", id: 1, slice: "orders", linesMax: 1e9 }));
    stranger.send(n1, encode(["nonsense"]));
    stranger.send(n1, new Uint8Array([0xc1, 1, 2]));
    await fleet.pass(LOG_ANSWER_MS_MAX);
    expect(await reading).toEqual({ lines: [], silent: ["n3"], isKnown: false });
  });
});

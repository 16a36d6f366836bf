import { beforeEach, describe, expect, test } from "vitest";
import { encode } from "../../../../src/base/codec.ts";
import { parseJobId, parseNodeId, type NodeId } from "../../../../src/base/ids.ts";
import { ProgressHub, TURN_BYTES_MAX, WANTED_MAX, WANTED_MS } from "../../../../src/jobs/progress/progress-hub.ts";
import type { PeerMessaging } from "../../../../src/net/peer-messaging.ts";
import { SILENT_TELEMETRY } from "../../../support/cluster-world.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { MemoryHub, type MemoryMessaging } from "../../../support/memory-messaging.ts";

const JOB = parseJobId("j");
const [N1, N2, N3] = ["n1", "n2", "n3"].map(parseNodeId) as [NodeId, NodeId, NodeId];

let clock: ManualClock;
let network: MemoryHub;
let seen: unknown[];

beforeEach(() => {
  clock = new ManualClock();
  network = new MemoryHub(clock);
  seen = [];
});

interface Node {
  readonly hub: ProgressHub;
  readonly messaging: MemoryMessaging;
  /** Payloads that this node sent, by receiver. */
  readonly sent: NodeId[];
  readonly refused: string[];
}

function node(name: NodeId): Node {
  const messaging = network.join(name);
  const sent: NodeId[] = [];
  const refused: string[] = [];
  const counting: PeerMessaging = {
    connected: messaging.connected,
    onPeer: (listener) => messaging.onPeer(listener),
    channel: (channel) => {
      const inner = messaging.channel(channel);
      return {
        ...inner,
        send: (to, payload) => inner.send(to, payload) && sent.push(to) > 0,
        refuse: (_from, reason) => void refused.push(reason),
      };
    },
  };
  const hub = new ProgressHub({ clock, telemetry: SILENT_TELEMETRY }, { messaging: counting }, name);
  return { hub, messaging, sent, refused };
}

describe("progress", () => {
  test("of a job that runs here reaches its reader at once", () => {
    const { hub, sent } = node(N1);
    const reading = hub.read(JOB, (item) => seen.push(item));
    reading.setOwner(N1);
    hub.publish(JOB, { at: 1 });
    hub.publish(parseJobId("other"), { at: 2 });
    expect([seen, sent]).toEqual([[{ at: 1 }], []]);
  });

  test("of a job of another node comes in order, and only while it is read", async () => {
    const [owner, reader] = [node(N1), node(N2)];
    const reading = reader.hub.read(JOB, (item) => seen.push(item));
    owner.hub.publish(JOB, 0);
    await clock.settle();
    expect(owner.sent).toEqual([]);
    reading.setOwner(N1);
    await clock.settle();
    for (const item of [1, 2, 3]) owner.hub.publish(JOB, item);
    await clock.settle();
    // Those of one turn travel together.
    expect([seen, owner.sent]).toEqual([[1, 2, 3], [N2]]);
    reading.close();
    await clock.settle();
    owner.hub.publish(JOB, 4);
    await clock.settle();
    expect([seen, owner.sent]).toEqual([[1, 2, 3], [N2]]);
  });

  test("follows the job to its next owner", async () => {
    const [first, second, reader] = [node(N1), node(N2), node(N3)];
    const reading = reader.hub.read(JOB, (item) => seen.push(item));
    reading.setOwner(N1);
    reading.setOwner(undefined);
    reading.setOwner(N2);
    await clock.settle();
    second.hub.publish(JOB, "second");
    await clock.settle();
    expect(seen).toEqual(["second"]);
    expect(first.hub).toBeDefined();
  });

  test("goes on for as long as a reader says that it is there, and no longer", async () => {
    const [owner, reader] = [node(N1), node(N2)];
    reader.hub.read(JOB, (item) => seen.push(item)).setOwner(N1);
    await clock.advance(3 * WANTED_MS);
    owner.hub.publish(JOB, "still read");
    await clock.settle();
    expect(seen).toEqual(["still read"]);
    network.cut(N2);
    await clock.advance(WANTED_MS);
    network.mend(N2);
    const before = owner.sent.length;
    owner.hub.publish(JOB, "for nobody");
    await clock.settle();
    expect(owner.sent).toHaveLength(before);
  });

  test("of one turn is bounded: what is too much is left out, what comes later is not", async () => {
    const [owner, reader] = [node(N1), node(N2)];
    reader.hub.read(JOB, (item) => seen.push(item)).setOwner(N1);
    await clock.settle();
    const large = "x".repeat(60_000);
    for (let at = 0; at < 10; at++) owner.hub.publish(JOB, large);
    await clock.settle();
    expect(seen).toHaveLength(Math.floor(TURN_BYTES_MAX / large.length));
    owner.hub.publish(JOB, "small");
    await clock.settle();
    expect(seen.at(-1)).toBe("small");
  });

  test("goes to so many readers and no more; those that left make room", async () => {
    const [owner, reader] = [node(N1), node(N2)];
    const jobs = Array.from({ length: WANTED_MAX }, (_, at) => parseJobId(`f${at}`));
    const readings = jobs.map((job) => reader.hub.read(job, () => undefined));
    for (const reading of readings) reading.setOwner(N1);
    const late = reader.hub.read(JOB, (item) => seen.push(item));
    late.setOwner(N1);
    await clock.settle();
    owner.hub.publish(JOB, 1);
    await clock.settle();
    expect(seen).toEqual([]);
    for (const reading of readings) reading.close();
    await clock.settle();
    late.setOwner(undefined);
    late.setOwner(N1);
    await clock.settle();
    owner.hub.publish(JOB, 2);
    await clock.settle();
    expect(seen).toEqual([2]);
  });

  test("that is garbage ends the sender's connection, and nothing else", async () => {
    const [owner, reader] = [node(N1), node(N2)];
    reader.hub.read(JOB, (item) => seen.push(item)).setOwner(N1);
    const garbage = [Buffer.from([0xc1]), encode({ a: 1 }), encode([9]), encode([3, 1, []]), encode([1, ["a/b"]])];
    for (const payload of garbage) reader.messaging.channel("jobs").send(N1, payload);
    await clock.settle();
    expect(owner.refused).toHaveLength(garbage.length);
    owner.hub.publish(JOB, 1);
    await clock.settle();
    expect(seen).toEqual([1]);
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { ownerOf, partitionOf, PARTITIONS } from "../../../../src/cluster/topics/core/message-share.ts";
import { TopicQueue, type QueuedMessage } from "../../../../src/cluster/topics/core/topic-queue.ts";
import { formatKey } from "../../../../src/kvstore/core/key.ts";

function message(key: string, createRevision: number, attempts = 0): QueuedMessage {
  const id = `n1.1.${createRevision}`;
  const partition = partitionOf(key);
  const text = formatKey({ kind: "topic-message", topic: "t", group: "g", partition, id });
  return { text, id, partition, key, createRevision, modRevision: createRevision, attempts, payload: null, bytes: 10 };
}

function queueOf(...messages: readonly QueuedMessage[]): TopicQueue {
  const queue = new TopicQueue();
  queue.setShare(() => true);
  for (const one of messages) queue.put(one);
  return queue;
}

describe("the queue of a group", () => {
  test("gives out one message per key, the oldest, and the next when that is gone", () => {
    const [a1, a2, b1] = [message("a", 1), message("a", 3), message("b", 2)];
    // The rows of one publisher may come in any order.
    const queue = queueOf(a2, b1, a1);
    expect([queue.take(), queue.take(), queue.take()]).toEqual([a1, b1, undefined]);
    queue.remove(a1.text);
    expect(queue.take()).toBeUndefined();
    queue.settle(a1, "ready");
    expect(queue.take()).toEqual(a2);
  });

  test("gives out a message again that was not handled, before those behind it, and not while it rests", () => {
    const [a1, a2] = [message("a", 1), message("a", 2)];
    const queue = queueOf(a1, a2);
    expect(queue.take()).toEqual(a1);
    queue.settle(a1, "resting");
    expect(queue.take()).toBeUndefined();
    const again = { ...a1, attempts: 1, modRevision: 9 };
    queue.put(again);
    expect(queue.take()).toBeUndefined();
    queue.settle(again, "ready");
    expect(queue.take()).toEqual(again);
  });

  test("takes a row that is another message now for that one, wherever it belongs", () => {
    const [a1, a2, a3] = [message("a", 1), message("a", 2), message("a", 3)];
    const queue = queueOf(a1, a2);
    queue.put({ ...a1, createRevision: 9, modRevision: 9 });
    queue.put({ ...a2, key: "b", bytes: 30 });
    queue.put(a3);
    const taken = new Set([queue.take()?.text, queue.take()?.text, queue.take()?.text]);
    expect(taken).toEqual(new Set([a3.text, a2.text, undefined]));
    expect([queue.size, queue.bytes]).toEqual([3, 50]);
  });

  test("looks at few of the thousands that wait under one key when one comes, is tried again or goes", () => {
    let looks = 0;
    const counted = (at: number, attempts = 0): QueuedMessage => {
      const made = message("a", at, attempts);
      return Object.defineProperty({ ...made }, "createRevision", { get: () => (looks += 1, made.createRevision) });
    };
    const queue = queueOf();
    for (let at = 1; at <= 5_000; at++) queue.put(counted(at));
    for (let at = 1; at <= 1_000; at++) {
      queue.put(counted(at, 1));
      const taken = queue.take();
      expect(taken?.attempts).toBe(1);
      queue.remove(message("a", at).text);
      queue.settle(message("a", at), "ready");
    }
    expect(looks).toBeLessThan(50_000);
  });

  test("gives out only what is its node's share, and counts everything", () => {
    const [a1, b1] = [message("a", 1), message("b", 2)];
    const queue = queueOf(a1, b1);
    queue.setShare((partition) => partition === b1.partition);
    expect(partitionOf("a")).not.toBe(partitionOf("b"));
    expect([queue.take(), queue.take()]).toEqual([b1, undefined]);
    expect([queue.size, queue.bytes]).toEqual([2, 20]);
    queue.put({ ...a1, bytes: 15 });
    expect([queue.size, queue.bytes]).toEqual([2, 25]);
    queue.remove(a1.text);
    queue.remove(a1.text);
    expect([queue.size, queue.bytes]).toEqual([1, 10]);
  });

  test("whatever comes, goes and fails, the messages of a key are finished in their order", () => {
    const keys = ["a", "b", "c"];
    const what = fc.constantFrom("put", "take", "done", "fail", "rested");
    const steps = fc.array(fc.record({ what, key: fc.constantFrom(...keys) }));
    fc.assert(fc.property(steps, (list) => {
      const queue = queueOf();
      const taken = new Map<string, QueuedMessage>();
      const resting = new Map<string, QueuedMessage>();
      const finished = new Map<string, number[]>(keys.map((key) => [key, []]));
      let revision = 0;
      for (const { what: step, key } of list) {
        const held = taken.get(key);
        const rested = resting.get(key);
        if (step === "put") queue.put(message(key, ++revision));
        if (step === "take") {
          const one = queue.take();
          if (one === undefined) continue;
          expect(taken.has(one.key) || resting.has(one.key)).toBe(false);
          taken.set(one.key, one);
        }
        if (step === "done" && held !== undefined) {
          taken.delete(key);
          finished.get(key)?.push(held.createRevision);
          queue.remove(held.text);
          queue.settle(held, "ready");
        }
        if (step === "fail" && held !== undefined) {
          taken.delete(key);
          resting.set(key, held);
          queue.settle(held, "resting");
        }
        if (step === "rested" && rested !== undefined) {
          resting.delete(key);
          queue.settle(rested, "ready");
        }
      }
      for (const order of finished.values()) expect([...order].sort((x, y) => x - y)).toEqual(order);
    }));
  });
});

describe("the share of a node", () => {
  const nodes = ["n1", "n2", "n3"].map(parseNodeId);
  const labels = Array.from({ length: 300 }, (_, index) => `t/g${index}/${index % PARTITIONS}`);

  test("is the same whoever asks, about as large as that of others, and stays when another node goes", () => {
    const owners = labels.map((label) => ownerOf(label, nodes));
    expect(labels.map((label) => ownerOf(label, [...nodes].reverse()))).toEqual(owners);
    for (const node of nodes) expect(owners.filter((owner) => owner === node).length).toBeGreaterThan(60);
    const [, ...rest] = nodes;
    labels.forEach((label, index) => {
      if (owners[index] !== nodes[0]) expect(ownerOf(label, rest)).toBe(owners[index]);
    });
    expect(ownerOf("t/g/1", [])).toBeUndefined();
  });
});

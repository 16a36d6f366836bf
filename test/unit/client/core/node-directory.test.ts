import fc from "fast-check";
import { expect, test } from "vitest";
import { SeededRandom } from "../../../../src/base/random.ts";
import { KNOWN_NODES_MAX, NodeDirectory } from "../../../../src/client/core/node-directory.ts";

const GIVEN = ["ws://a", "ws://b", "ws://c"];

function take(directory: NodeDirectory, count: number): readonly { url: string; pauseMs: number }[] {
  return Array.from({ length: count }, () => directory.next());
}

test("each node is tried once without a pause, then all again with growing pauses that end at a bound", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const directory = new NodeDirectory(GIVEN, new SeededRandom(seed));
      const first = take(directory, 3);
      expect(first.map(({ url }) => url).sort()).toEqual(GIVEN);
      expect(first.map(({ pauseMs }) => pauseMs)).toEqual([0, 0, 0]);
      const second = take(directory, 3);
      expect(second.map(({ url }) => url).sort()).toEqual(GIVEN);
      for (const { pauseMs } of second) expect(pauseMs).toBeGreaterThanOrEqual(25);
      for (const { pauseMs } of take(directory, 60)) expect(pauseMs).toBeLessThanOrEqual(2_000);
    }),
  );
});

test("clients spread over the nodes", () => {
  const firsts = Array.from({ length: 300 }, (_, seed) => new NodeDirectory(GIVEN, new SeededRandom(seed)).next().url);
  for (const url of GIVEN) expect(firsts.filter((first) => first === url).length).toBeGreaterThan(50);
});

test("a node that served is the last to be tried again, and the pauses begin anew", () => {
  const directory = new NodeDirectory(GIVEN, new SeededRandom(1));
  take(directory, 8);
  directory.succeed("ws://b");
  const next = take(directory, 3);
  expect(next.at(-1)?.url).toBe("ws://b");
  expect(next.map(({ pauseMs }) => pauseMs)).toEqual([0, 0, 0]);
});

test("nodes that the cluster names come before those that the caller gave, which stay as a last resort", () => {
  const directory = new NodeDirectory(["ws://old"], new SeededRandom(1));
  expect(directory.isAlone).toBe(true);
  expect(directory.next().url).toBe("ws://old");
  directory.succeed("ws://old");
  directory.learn(["ws://new1", "ws://new2"]);
  expect(directory.isAlone).toBe(false);
  const urls = take(directory, 3).map(({ url }) => url);
  expect(urls.slice(0, 2).sort()).toEqual(["ws://new1", "ws://new2"]);
  expect(urls[2]).toBe("ws://old");
});

test("the same list again changes nothing; a node that left the cluster is not tried", () => {
  const directory = new NodeDirectory(["ws://a"], new SeededRandom(1));
  directory.learn(["ws://a", "ws://b"]);
  const [before] = take(directory, 1);
  directory.learn(["ws://b", "ws://a"]);
  expect(directory.next().url).not.toBe(before?.url);
  directory.learn(["ws://a", "ws://c"]);
  expect(take(directory, 6).map(({ url }) => url)).not.toContain("ws://b");
});

test("a cluster that names too many nodes is not believed without end", () => {
  const directory = new NodeDirectory(["ws://a"], new SeededRandom(1));
  directory.learn(Array.from({ length: 10_000 }, (_, at) => `ws://${at}`));
  const urls = new Set(take(directory, 3 * KNOWN_NODES_MAX).map(({ url }) => url));
  expect(urls.size).toBe(KNOWN_NODES_MAX + 1);
});

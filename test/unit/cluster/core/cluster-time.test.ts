import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import { HOUR_MS, SECOND_MS } from "../../../../src/base/units.ts";
import { ClusterTime } from "../../../../src/cluster/membership/core/cluster-time.ts";

const WALL_MS = 1_700_000_000_000;

/** A node whose peers' clocks are ahead of its own by so much, all heard at one moment. */
function withPeers(...aheadMs: readonly number[]): ClusterTime {
  const time = new ClusterTime();
  for (const [at, ahead] of aheadMs.entries()) time.hear(parseNodeId(`n${at + 2}`), WALL_MS + ahead, 0);
  return time;
}

describe("the time that most nodes have", () => {
  test.each<[string, readonly number[], number]>([
    ["alone", [], 0],
    ["with clocks that agree", [30, -200], 0],
    ["with one of two others an hour ahead", [HOUR_MS, 5], 0],
    ["with one other that is an hour ahead: of two nobody knows which is right", [HOUR_MS], 0],
    ["with one other that is an hour behind", [-HOUR_MS], -HOUR_MS],
    ["an hour behind both others", [HOUR_MS, HOUR_MS + 20], HOUR_MS],
    ["an hour ahead of both others", [-HOUR_MS, -HOUR_MS - 20], -HOUR_MS],
    ["where all differ: the one in the middle", [HOUR_MS, 3 * HOUR_MS], HOUR_MS],
    ["one of two that are wrong alike, of five", [0, HOUR_MS, HOUR_MS - 5, HOUR_MS + 5], HOUR_MS - 5],
    ["a second off is not off", [SECOND_MS, SECOND_MS], 0],
  ])("%s", (_name, aheadMs, expected) => {
    expect(withPeers(...aheadMs).wallMs(WALL_MS, 0) - WALL_MS).toBe(expected);
  });

  test("goes on between two messages, and does not jump with the own clock", () => {
    const time = withPeers(0, 0);
    expect(time.wallMs(WALL_MS + 400, 400)).toBe(WALL_MS + 400);
    expect(time.wallMs(WALL_MS + HOUR_MS + 600, 600.7)).toBe(WALL_MS + 600);
  });

  test("tells the own clock as off only where most show another time", () => {
    expect(withPeers(30, -200).offMs(WALL_MS + 0.7, 0.2)).toBe(0);
    expect(withPeers(HOUR_MS, HOUR_MS).offMs(WALL_MS, 0)).toBe(-HOUR_MS);
  });

  test("is that of members alone", () => {
    const time = withPeers(HOUR_MS, HOUR_MS);
    time.keep(new Set([parseNodeId("n1")]));
    expect(time.wallMs(WALL_MS, 0)).toBe(WALL_MS);
  });
});

import { describe, expect, test } from "vitest";
import { handlerOf, isListening, type HandlerState } from "../../../../src/cluster/topics/core/topic-handler.ts";

const ROW = { blueprint: "talk", method: "hark" } as const;
const HEARS = { topics: [{ topic: "said", method: "hear" }] } as const;
const DEAF = { topics: [{ topic: "sung", method: "hear" }] } as const;
const CURRENT = { isCurrent: true, isSettled: true } as const;
const TURNING = { isCurrent: true, isSettled: false } as const;
const EARLIER = { isCurrent: false, isSettled: false } as const;

type Case = readonly [row: HandlerState["row"], leading: HandlerState["leading"], expected: string, gets: boolean];

const CASES: readonly (readonly [string, Case])[] = [
  ["the version that leads handles it", [undefined, { resolved: HEARS, ...EARLIER }, "hear", true]],
  ["the version that leads handles it by another method", [ROW, { resolved: HEARS, ...EARLIER }, "hear", true]],
  ["its row is damaged, the version that leads says how", ["damaged", { resolved: HEARS, ...CURRENT }, "hear", true]],
  ["the version that handles it is still to lead", [ROW, { resolved: DEAF, ...EARLIER }, "rests", false]],
  ["this node sees the row earlier than the revision", [ROW, { resolved: DEAF, ...CURRENT }, "hark", true]],
  ["this node cannot read the blueprint", [ROW, undefined, "hark", true]],
  ["its row is damaged, and nothing else says how", ["damaged", undefined, "unreadable", true]],
  ["nobody handles it any more", [undefined, { resolved: DEAF, ...CURRENT }, "none", false]],
  ["it has no topics, and never had", [undefined, { resolved: {}, ...CURRENT }, "none", false]],
  ["the slice is gone", [undefined, undefined, "none", false]],
  ["what waits may be for a version that comes back", [undefined, { resolved: DEAF, ...TURNING }, "rests", false]],
];

describe("who gets the messages of a topic", () => {
  test.each(CASES)("%s", (_name, [row, leading, expected, gets]) => {
    const handler = handlerOf({ topic: "said", row, leading });
    expect(handler.kind === "handles" ? handler.method : handler.kind).toBe(expected);
    expect(isListening(handler)).toBe(gets);
  });
});

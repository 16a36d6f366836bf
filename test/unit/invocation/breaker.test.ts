import { describe, expect, test } from "vitest";
import {
  CLOSED, OPEN_MS_MAX, RESULTS_MAX, standingOf, stepBreaker, type BreakerEvent, type BreakerState,
} from "../../../src/invocation/core/breaker.ts";

const OPEN = { kind: "open", openMs: 1_000, untilMs: 1_000 } as const;
const HALF_OPEN = { kind: "half-open", openMs: 1_000, probeUntilMs: 2_000 } as const;
const EVENTS: readonly BreakerEvent[] = [
  "begin", "ok", "failed", "neutral", "probe-ok", "probe-failed", "probe-neutral",
];

function play(events: readonly BreakerEvent[], state: BreakerState = CLOSED, nowMs = 0): BreakerState {
  return events.reduce((at, event) => stepBreaker(at, event, nowMs), state);
}

function repeat(event: BreakerEvent, times: number): readonly BreakerEvent[] {
  return Array.from({ length: times }, () => event);
}

describe("the truth table of a breaker", () => {
  // One failure short of opening: what a failure does shows.
  const almost = play(repeat("failed", 4));
  type Row = Readonly<Record<BreakerEvent, BreakerState["kind"]>>;
  const table: readonly (readonly [string, BreakerState, number, Row])[] = [
    ["closed", almost, 0, {
      begin: "closed", ok: "closed", failed: "open", neutral: "closed",
      "probe-ok": "closed", "probe-failed": "open", "probe-neutral": "closed",
    }],
    ["open, its time not over", OPEN, 999, {
      begin: "open", ok: "open", failed: "open", neutral: "open",
      "probe-ok": "open", "probe-failed": "open", "probe-neutral": "open",
    }],
    ["open, its time over", OPEN, 1_000, {
      begin: "half-open", ok: "open", failed: "open", neutral: "open",
      "probe-ok": "open", "probe-failed": "open", "probe-neutral": "open",
    }],
    ["half-open", HALF_OPEN, 1_500, {
      begin: "half-open", ok: "half-open", failed: "half-open", neutral: "half-open",
      "probe-ok": "closed", "probe-failed": "open", "probe-neutral": "open",
    }],
  ];
  const cells = table.flatMap(([name, state, nowMs, row]) =>
    EVENTS.map((event) => [name, event, row[event], state, nowMs] as const));
  test.each(cells)("%s, %s: %s", (_name, event, kind, state, nowMs) => {
    expect(stepBreaker(state, event, nowMs).kind).toBe(kind);
  });
});

describe("what opens a breaker", () => {
  test("five failures in a row, whatever was before", () => {
    for (const before of [CLOSED, play(["failed", ...repeat("ok", 5)])]) {
      expect(play(repeat("failed", 4), before).kind).toBe("closed");
      expect(play(repeat("failed", 5), before)).toEqual({ kind: "open", openMs: 1_000, untilMs: 1_000 });
    }
  });

  test("half of the last twenty results", () => {
    const everyOther = Array.from({ length: RESULTS_MAX / 2 - 1 }, () => ["failed", "ok"] as const).flat();
    expect(play(everyOther).kind).toBe("closed");
    expect(play([...everyOther, "failed"]).kind).toBe("open");
    const oneInThree = Array.from({ length: 100 }, () => ["failed", "ok", "ok"] as const).flat();
    expect(play(oneInThree).kind).toBe("closed");
  });

  test("failures are forgotten after ten seconds without another", () => {
    const early = play(repeat("failed", 4));
    expect(play(["failed"], early, 9_999).kind).toBe("open");
    expect(play(repeat("failed", 4), early, 10_000).kind).toBe("closed");
    expect(play(["ok", ...repeat("failed", 4)], early, 10_000).kind).toBe("closed");
  });

  test("a healthy endpoint costs nothing: its state stays the same object", () => {
    expect(play(["begin", "ok", "neutral"])).toBe(CLOSED);
  });
});

describe("what closes it", () => {
  test("the time doubles with each failed probe, up to half a minute", () => {
    let state: BreakerState = OPEN;
    const times: number[] = [];
    for (let nowMs = 1_000; times.length < 7; nowMs = state.kind === "open" ? state.untilMs : nowMs) {
      state = stepBreaker(stepBreaker(state, "begin", nowMs), "probe-failed", nowMs);
      times.push(state.kind === "open" ? state.openMs : 0);
    }
    expect(times).toEqual([2_000, 4_000, 8_000, 16_000, OPEN_MS_MAX, OPEN_MS_MAX, OPEN_MS_MAX]);
  });

  test("a probe that says nothing leaves the next call to be one", () => {
    const state = stepBreaker(HALF_OPEN, "probe-neutral", 1_500);
    expect(standingOf(state, "read", 1_500)).toBe("probe");
  });

  test("while one probe is under way nobody else is sent, until it has taken too long", () => {
    expect(standingOf(HALF_OPEN, "read", 1_999)).toBe("avoid");
    expect(standingOf(HALF_OPEN, "read", 2_000)).toBe("probe");
    expect(stepBreaker(HALF_OPEN, "begin", 2_000)).toMatchObject({ kind: "half-open", probeUntilMs: 3_000 });
  });

  test("a write leaves the probing to others for as long again", () => {
    expect([999, 1_000, 1_999, 2_000].map((nowMs) => standingOf(OPEN, "read", nowMs)))
      .toEqual(["avoid", "probe", "probe", "probe"]);
    expect([999, 1_000, 1_999, 2_000].map((nowMs) => standingOf(OPEN, "write", nowMs)))
      .toEqual(["avoid", "avoid", "avoid", "probe"]);
    expect(standingOf(CLOSED, "write", 0)).toBe("use");
  });
});

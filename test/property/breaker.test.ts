// A breaker against what its words say, for every order of events: it never avoids an endpoint for longer than it says,
// and one that works is trusted again after one probe.
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  CLOSED, OPEN_MS_MAX, standingOf, stepBreaker, type BreakerEvent, type BreakerState,
} from "../../src/invocation/core/breaker.ts";

const events = fc.constantFrom<BreakerEvent>(
  "begin", "ok", "failed", "neutral", "probe-ok", "probe-failed", "probe-neutral",
);
const steps = fc.record({ event: events, waitMs: fc.integer({ min: 0, max: 20_000 }) });
const histories = fc.array(steps, { maxLength: 200 });

interface Played {
  readonly states: readonly BreakerState[];
  readonly nowMs: number;
}

function play(history: readonly { readonly event: BreakerEvent; readonly waitMs: number }[]): Played {
  const states: BreakerState[] = [CLOSED];
  let nowMs = 0;
  for (const { event, waitMs } of history) {
    nowMs += waitMs;
    states.push(stepBreaker(states.at(-1) ?? CLOSED, event, nowMs));
  }
  return { states, nowMs };
}

test("after any history an endpoint is probed again within half a minute, by a write within a minute", () => {
  fc.assert(fc.property(histories, (history) => {
    const { states, nowMs } = play(history);
    const last = states.at(-1) ?? CLOSED;
    expect(standingOf(last, "read", nowMs + OPEN_MS_MAX)).not.toBe("avoid");
    expect(standingOf(last, "write", nowMs + 2 * OPEN_MS_MAX)).not.toBe("avoid");
  }));
});

test("after any history one probe that is answered makes it as good as new", () => {
  fc.assert(fc.property(histories, (history) => {
    const { states, nowMs } = play(history);
    const last = states.at(-1) ?? CLOSED;
    if (last.kind === "closed") return;
    const probing = stepBreaker(last, "begin", nowMs + OPEN_MS_MAX);
    expect(probing.kind).toBe("half-open");
    expect(stepBreaker(probing, "probe-ok", nowMs + OPEN_MS_MAX)).toBe(CLOSED);
  }));
});

test("it opens only by a failure, with failures in at least five of the last twenty results", () => {
  fc.assert(fc.property(histories, (history) => {
    const { states } = play(history);
    history.forEach(({ event }, at) => {
      if (states[at]?.kind !== "closed" || states[at + 1]?.kind !== "open") return;
      expect(event === "failed" || event === "probe-failed").toBe(true);
      const results = history.slice(0, at + 1).map((step) => step.event).filter((name) => /ok|failed/.test(name));
      expect(results.slice(-20).filter((name) => name.endsWith("failed")).length).toBeGreaterThanOrEqual(5);
    });
  }));
});

test("an endpoint that never fails is always trusted", () => {
  const harmless = fc.array(fc.constantFrom<BreakerEvent>("begin", "ok", "neutral", "probe-ok"), { maxLength: 100 });
  fc.assert(fc.property(harmless, (names) => {
    const { states } = play(names.map((event) => ({ event, waitMs: 10 })));
    expect(states.every((state) => state === CLOSED)).toBe(true);
  }));
});

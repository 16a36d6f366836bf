import fc from "fast-check";
import { expect, test } from "vitest";
import type { Timer } from "../../../src/env/clock.ts";
import { Deadlines, type DeadlineEntry } from "../../../src/slices/deadlines.ts";

/** Time that passes while somebody waits, and never else. */
class StillClock {
  private currentMs = 1_000;
  private timers: { readonly atMs: number; readonly fire: () => void }[] = [];

  get timerCount(): number {
    return this.timers.length;
  }

  nowMs(): number {
    return this.currentMs;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.currentMs + delayMs, fire };
    this.timers.push(timer);
    return { cancel: () => void (this.timers = this.timers.filter((other) => other !== timer)) };
  }

  advance(ms: number): void {
    const untilMs = this.currentMs + ms;
    for (;;) {
      const [next] = this.timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.timers = this.timers.filter((other) => other !== next);
      this.currentMs = Math.max(this.currentMs, next.atMs);
      next.fire();
    }
    this.currentMs = untilMs;
  }
}

function open() {
  const clock = new StillClock();
  const passed: { readonly item: number; readonly atMs: number }[] = [];
  const deadlines = new Deadlines<number>(clock, (item) => passed.push({ item, atMs: clock.nowMs() }));
  return { clock, deadlines, passed };
}

type Step =
  | { readonly kind: "add"; readonly afterMs: number }
  | { readonly kind: "clear"; readonly which: number }
  | { readonly kind: "wait"; readonly ms: number };

const steps = fc.array(fc.oneof<fc.Arbitrary<Step>[]>(
  fc.record({ kind: fc.constant("add" as const), afterMs: fc.integer({ min: 0, max: 50 }) }),
  fc.record({ kind: fc.constant("clear" as const), which: fc.nat() }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 30 }) }),
), { maxLength: 200 });

test("each deadline passes once, when it is due and in order, unless it was cleared before", () => {
  fc.assert(fc.property(steps, (wanted) => {
    const { clock, deadlines, passed } = open();
    const entries: DeadlineEntry<number>[] = [];
    const due = new Map<number, number>();
    for (const step of wanted) {
      if (step.kind === "wait") clock.advance(step.ms);
      else if (step.kind === "add") {
        due.set(entries.length, clock.nowMs() + step.afterMs);
        entries.push(deadlines.add(entries.length, clock.nowMs() + step.afterMs));
      } else if (entries.length > 0) {
        const which = step.which % entries.length;
        const entry = entries[which];
        if (entry?.item !== undefined) due.delete(which);
        if (entry !== undefined) deadlines.clear(entry);
      }
    }
    clock.advance(100);
    expect(passed.map(({ atMs }) => atMs)).toEqual(passed.map(({ atMs }) => atMs).sort((a, b) => a - b));
    expect(new Map(passed.map(({ item, atMs }) => [item, atMs]))).toEqual(due);
    expect(passed.length).toBe(due.size);
  }));
});

test("what is cleared is forgotten, and when nothing is left no timer is", () => {
  const { clock, deadlines, passed } = open();
  const kept = deadlines.add(-1, 1_000_000);
  for (let round = 0; round < 100_000; round += 1) deadlines.clear(deadlines.add(round, 15_000 + round));
  expect(deadlines.held).toBeLessThan(1_000);
  deadlines.clear(kept);
  expect([deadlines.held, clock.timerCount, passed.length]).toEqual([0, 0, 0]);
});

test("what a passed deadline causes may clear the others, or set new ones", () => {
  const clock = new StillClock();
  const passed: string[] = [];
  const deadlines = new Deadlines<string>(clock, (item) => {
    passed.push(`${item} ${clock.nowMs() - 1_000}`);
    if (item !== "first") return;
    deadlines.clear(second);
    deadlines.add("third", clock.nowMs() + 5);
  });
  deadlines.add("first", 1_010);
  const second = deadlines.add("second", 1_010);
  clock.advance(100);
  expect(passed).toEqual(["first 10", "third 15"]);
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { RequestWindow } from "../../../../src/client/core/request-window.ts";
import { SESSION_WINDOW_MAX } from "../../../../src/kvstore/core/request-page.ts";

/** Mostly taking an id (-1), sometimes giving one back. */
const step = fc.oneof({ weight: 3, arbitrary: fc.constant(-1) }, fc.nat(2_000));
const steps = fc.array(step, { maxLength: 4_000 });

test("ids rise, and none in use is ever as far behind the highest as the window is wide", () => {
  fc.assert(
    fc.property(steps, (taken) => {
      const window = new RequestWindow();
      const used = new Set<number>();
      let highest = 0;
      for (const step of taken) {
        if (step >= 0) {
          const ids = [...used];
          const id = ids[step % Math.max(1, ids.length)];
          if (id === undefined) continue;
          used.delete(id);
          window.release(id);
          continue;
        }
        const id = window.take();
        if (id === undefined) {
          expect(highest + 1 - Math.min(...used)).toBe(SESSION_WINDOW_MAX);
          continue;
        }
        expect(id).toBe(highest + 1);
        highest = id;
        used.add(id);
        expect(highest - Math.min(...used)).toBeLessThan(SESSION_WINDOW_MAX);
      }
    }),
    { numRuns: 50 },
  );
});

test("one id that is held fills the window, and giving it back opens it", () => {
  const window = new RequestWindow();
  const held = window.take() ?? 0;
  for (let count = 1; count < SESSION_WINDOW_MAX; count++) window.release(window.take() ?? 0);
  expect([window.isFull, window.take()]).toEqual([true, undefined]);
  window.release(held);
  window.release(held);
  expect([window.isFull, window.take()]).toEqual([false, SESSION_WINDOW_MAX + 1]);
});

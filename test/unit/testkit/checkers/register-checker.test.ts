import { describe, expect, test } from "vitest";
import {
  checkRegister,
  type RegisterAction,
  type RegisterOperation,
} from "../../../sim/checkers/register-checker.ts";

let nextId = 0;
function op(called: number, returned: number | undefined, action: RegisterAction): RegisterOperation {
  nextId += 1;
  return { id: nextId, called, returned, action };
}
const put = (value: string): RegisterAction => ({ kind: "put", value });
const get = (saw: string | undefined): RegisterAction => ({ kind: "get", saw });
const swap = (expected: string, value: string): RegisterAction => {
  return { kind: "cas", expected, value, saw: { kind: "swapped" } };
};
const keep = (expected: string, found: string | undefined): RegisterAction => {
  return { kind: "cas", expected, value: "unused", saw: { kind: "kept", value: found } };
};
const remove = (deleted: boolean): RegisterAction => ({ kind: "delete", deleted });

const GOOD: Record<string, readonly RegisterOperation[]> = {
  "a read after a write sees it": [op(1, 2, put("a")), op(3, 4, get("a"))],
  "a read during a write may see either": [op(1, 6, put("a")), op(2, 3, get(undefined)), op(4, 5, get("a"))],
  "a write of unknown outcome may never take effect": [op(1, undefined, put("a")), op(2, 3, get(undefined))],
  "a write of unknown outcome may take effect late": [
    op(1, undefined, put("a")),
    op(2, 3, get(undefined)),
    op(4, 5, get("a")),
  ],
  "a swap needs its value": [op(1, 2, put("a")), op(3, 4, swap("a", "b")), op(5, 6, get("b"))],
  "a swap of unknown outcome may do nothing": [
    op(1, 2, put("a")),
    op(3, undefined, swap("a", "b")),
    op(5, 6, keep("x", "a")),
  ],
  "a delete tells whether something was there": [op(1, 2, put("a")), op(3, 4, remove(true)), op(5, 6, remove(false))],
  "overlapping writes take effect in any order": [
    op(1, 10, put("a")),
    op(2, 9, put("b")),
    op(11, 12, get("a")),
    op(13, 14, get("a")),
  ],
};

const BAD: Record<string, readonly RegisterOperation[]> = {
  "a read misses a write that returned before": [op(1, 2, put("a")), op(3, 4, get(undefined))],
  "a read sees a write that came after it": [op(1, 2, get("a")), op(3, 4, put("a"))],
  "two reads see two writes in contrary order": [
    op(1, 10, put("a")),
    op(2, 9, put("b")),
    op(11, 12, get("a")),
    op(13, 14, get("b")),
  ],
  "a value comes back after it was overwritten": [
    op(1, 2, put("a")),
    op(3, 4, put("b")),
    op(5, 6, get("b")),
    op(7, 8, get("a")),
  ],
  "a read goes back from new to old during a write": [
    op(1, 2, put("a")),
    op(3, 10, put("b")),
    op(4, 5, get("b")),
    op(6, 7, get("a")),
  ],
  "two swaps from one value both succeed": [op(1, 2, put("a")), op(3, 8, swap("a", "b")), op(4, 7, swap("a", "c"))],
  "a write of unknown outcome takes effect twice": [
    op(1, undefined, put("a")),
    op(2, 3, get("a")),
    op(4, 5, put("b")),
    op(6, 7, get("b")),
    op(8, 9, get("a")),
  ],
  "a write of unknown outcome takes effect before its call": [op(1, 2, get("a")), op(3, undefined, put("a"))],
  "a delete finds what was deleted": [op(1, 2, put("a")), op(3, 4, remove(true)), op(5, 6, remove(true))],
  "a swap fails although its value was there": [op(1, 2, put("a")), op(3, 4, keep("a", "a"))],
};

describe("the register checker accepts a history in which", () => {
  test.each(Object.entries(GOOD))("%s", (_name, history) => {
    expect(checkRegister(history)).toEqual({ kind: "linearizable" });
  });
});

describe("the register checker refuses a history in which (C11)", () => {
  test.each(Object.entries(BAD))("%s", (_name, history) => {
    expect(checkRegister(history).kind).toBe("violation");
  });
});

test("a long history with many operations of unknown outcome is judged", () => {
  const history: RegisterOperation[] = [];
  let last: string | undefined;
  for (let index = 0; index < 120; index += 1) {
    history.push(op(10 * index, index % 8 === 0 ? undefined : 10 * index + 2, put(`v${index}`)));
    if (index % 8 !== 0) last = `v${index}`;
    history.push(op(10 * index + 4, 10 * index + 6, get(last)));
  }
  expect(checkRegister(history)).toEqual({ kind: "linearizable" });
});

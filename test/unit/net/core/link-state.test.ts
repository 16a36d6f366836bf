import { describe, expect, test } from "vitest";
import { LINK_NEXT, type LinkEvent, type LinkState, type LinkStep } from "../../../../src/net/core/link-state.ts";

describe("the table of link states", () => {
  const path = (role: "dialer" | "acceptor", events: readonly LinkEvent[]): string => {
    let state: LinkState = role === "dialer" ? "connecting" : "greeting";
    for (const event of events) {
      const next: LinkStep = LINK_NEXT[role][state][event];
      if (next === "refuse") return `${event} refused in ${state}`;
      state = next;
    }
    return state;
  };

  test("leads a dialer up over opened, hello and its own approval", () => {
    expect(path("dialer", ["opened", "hello", "approved", "frame"])).toBe("up");
  });

  test("leads an acceptor up only after the dialer is ready", () => {
    expect(path("acceptor", ["hello", "approved"])).toBe("confirming");
    expect(path("acceptor", ["hello", "approved", "ready", "frame"])).toBe("up");
  });

  test("accepts no frame before up and no step after the end, in any state of either role", () => {
    for (const role of ["dialer", "acceptor"] as const) {
      for (const [state, row] of Object.entries(LINK_NEXT[role])) {
        expect(row.end).toBe("ended");
        if (state !== "up") expect(row.frame).toBe("refuse");
      }
      const { end: _end, ...others } = LINK_NEXT[role].ended;
      expect(new Set(Object.values(others))).toEqual(new Set(["refuse"]));
    }
  });
});

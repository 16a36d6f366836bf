import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  hasEndpoints, isTransitional, NEXT, nextState, WRITER, type InstanceEvent, type InstanceState,
} from "../../../src/slices/core/lifecycle.ts";

const STATES = Object.keys(NEXT) as InstanceState[];
const EVENTS = Object.keys(WRITER) as InstanceEvent[];

// Written out a second time, column by column, so that a slip in the table is a difference here.
const ALLOWED: Readonly<Record<InstanceEvent, Partial<Record<InstanceState, InstanceState>>>> = {
  load: { GONE: "LOAD", FAILED: "LOAD" },
  activate: { LOADED: "ACTIVATE" },
  deactivate: { ACTIVE: "DEACTIVATE" },
  unload: {
    LOAD: "UNLOAD", LOADED: "UNLOAD", LOADING: "UNLOAD", ACTIVATING: "UNLOAD", DEACTIVATING: "UNLOAD",
    UNLOADING: "UNLOAD", FAILED: "UNLOAD",
  },
  abandon: {
    LOAD: "GONE", LOADING: "GONE", LOADED: "GONE", ACTIVATE: "GONE", ACTIVATING: "GONE", ACTIVE: "GONE",
    DEACTIVATE: "GONE", DEACTIVATING: "GONE", UNLOAD: "GONE", UNLOADING: "GONE", FAILED: "GONE",
  },
  begin: { LOAD: "LOADING", ACTIVATE: "ACTIVATING", DEACTIVATE: "DEACTIVATING", UNLOAD: "UNLOADING" },
  done: { LOADING: "LOADED", ACTIVATING: "ACTIVE", DEACTIVATING: "LOADED", UNLOADING: "GONE" },
  fail: { LOADING: "FAILED", ACTIVATING: "FAILED", DEACTIVATING: "FAILED", UNLOADING: "FAILED" },
  lost: {
    LOADING: "FAILED", LOADED: "FAILED", ACTIVATE: "FAILED", ACTIVATING: "FAILED", ACTIVE: "FAILED",
    DEACTIVATE: "FAILED", DEACTIVATING: "FAILED", UNLOADING: "FAILED",
  },
};

describe("the life of an instance", () => {
  for (const state of STATES) {
    for (const event of EVENTS) {
      const expected = ALLOWED[event][state] ?? "refuse";
      test(`${state} on ${event} becomes ${expected}`, () => expect(nextState(state, event)).toBe(expected));
    }
  }

  test("whatever happened before, an instance can still be unloaded or abandoned until its row is gone", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...EVENTS), { maxLength: 40 }), (events) => {
        const state = events.reduce<InstanceState>(follow, "GONE");
        if (state !== "GONE") expect(nextState(state, "abandon")).toBe("GONE");
        expect(reaches(state, "GONE", (event) => event !== "abandon")).toBe(true);
        expect(reaches(state, "ACTIVE", () => true)).toBe(true);
      }),
    );
  });

  test("endpoints stand exactly while calls are accepted", () => {
    expect(STATES.filter(hasEndpoints)).toEqual(["ACTIVE", "DEACTIVATE"]);
  });

  test("a time limit runs exactly in the states in which the node is at work", () => {
    expect(STATES.filter(isTransitional)).toEqual(STATES.filter((state) => nextState(state, "fail") !== "refuse"));
  });
});

function follow(state: InstanceState, event: InstanceEvent): InstanceState {
  const next = nextState(state, event);
  return next === "refuse" ? state : next;
}

function reaches(from: InstanceState, target: InstanceState, may: (event: InstanceEvent) => boolean): boolean {
  const seen = new Set([from]);
  for (const state of seen) {
    for (const event of EVENTS.filter(may)) seen.add(follow(state, event));
  }
  return seen.has(target);
}

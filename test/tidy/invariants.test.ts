import { describe, expect, test } from "vitest";
import { plant } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findUnprovenInvariants } from "./rules/invariants.ts";

const README = { "src/consensus/README.md": "# Consensus\n\n- C1 one vote\n- C2 equal votes\n" };
const CHECK = { "src/consensus/core/slot.ts": 'assert(a, "C1: second vote");\nassert(b, `C2: ${c}`);' };
const TESTS = { "test/property/slot.test.ts": 'test("one vote (C1)", f);\ntest.each(t)(`equal votes (C2) ${x}`, f);' };

describe("a promised invariant is checked and tested", () => {
  test("in this project", () => {
    expect(describeFindings(findUnprovenInvariants(readProject()))).toEqual([]);
  });

  test("accepts one that an assert and a test name", () => {
    expect(findUnprovenInvariants(plant({ ...README, ...CHECK, ...TESTS }))).toEqual([]);
  });

  test("accepts a checker of the simulator in place of an assert", () => {
    const checker = { "test/sim/checkers/votes.ts": 'violation("C1", "…"); violation("C2", "…");' };
    expect(findUnprovenInvariants(plant({ ...README, ...checker, ...TESTS }))).toEqual([]);
  });

  test("finds one that only a comment mentions", () => {
    const files = plant({ ...README, ...TESTS, "src/consensus/core/slot.ts": '// C1 holds here\nassert(b, "C2: …");' });
    expect(describeFindings(findUnprovenInvariants(files))).toEqual([
      "src/consensus/README.md:3 invariant C1: no assert or checker names it",
    ]);
  });

  test("finds one that no test is named after", () => {
    const files = plant({ ...README, ...CHECK, "test/unit/slot.test.ts": '// C2\ntest("one vote (C1)", () => "C2");' });
    expect(describeFindings(findUnprovenInvariants(files))).toEqual([
      "src/consensus/README.md:4 invariant C2: no test name contains it",
    ]);
  });
});

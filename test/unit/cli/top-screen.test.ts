// Owns: what `aether top` says of alerts; the rest of its screen is shown beside real nodes (test/process/top.test.ts).
import { expect, test } from "vitest";
import { alertLines, screenLines, topSchema } from "../../../src/cli/top/screen.ts";

const MISSING = { severity: "error", subject: "node/n3", text: "n3 is not heard" };
const SLOW = { severity: "warning", subject: "method/shop.buy", text: "its calls take 3 s" };

test("the worst alert is said, and how many more fire", () => {
  expect(alertLines([])).toEqual(["no alert fires"]);
  expect(alertLines([MISSING])).toEqual(["ERROR node/n3: n3 is not heard"]);
  expect(alertLines([MISSING, SLOW, SLOW])).toEqual(["ERROR node/n3: n3 is not heard (and 2 more: aether alerts)"]);
});

test("what a name contains cannot steer the terminal", () => {
  expect(alertLines([{ ...MISSING, text: "\u001b[2Jgone" }]).join("")).not.toContain("\u001b");
});

test("a node of an earlier build, which says no alerts, is not taken to say that none fires", () => {
  const second = topSchema.parse({
    snapshot: { leader: "n1", ageMs: 5, isStale: false, cluster: {}, nodes: [], slices: [], methods: [] },
  });
  const { snapshot, alerts } = second;
  if (snapshot === null) return expect.unreachable();
  const shown = { order: "calls", filter: "" } as const;
  expect(screenLines({ snapshot, alerts }, shown).join("\n")).not.toContain("alert");
  expect(screenLines({ snapshot, alerts: [] }, shown)[2]).toBe("no alert fires");
});

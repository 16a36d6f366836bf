import { describe, expect, test } from "vitest";
import {
  agoText, bytesText, countText, durationText, lastingText, shortNumber,
} from "../../../src/dashboard/core/format.ts";
import { jobTone, quorumVerdict } from "../../../src/dashboard/core/quorum.ts";

describe("numbers and times", () => {
  test.each([
    [shortNumber(0.5), "0.5"], [shortNumber(2.97), "2.97"], [shortNumber(12_345), "12.3 k"], [shortNumber(100), "100"],
    [shortNumber(3_000_000), "3 M"], [countText(1_234_567), "1\u2009234\u2009567"], [countText(12), "12"],
    [bytesText(1_536), "1.5 KiB"], [bytesText(3 * 1_024 ** 3), "3 GiB"],
    [durationText(340), "340 ms"], [durationText(4_260), "4.2 s"], [durationText(200_000), "3 min 20 s"],
    [durationText(3_600_000), "1 h"], [durationText(277_200_000), "3 d 5 h"], [durationText(-5), "0 ms"],
    [lastingText(-5), "under 1 s"], [lastingText(999), "under 1 s"], [lastingText(4_260), "4 s"],
    [agoText(400), "now"], [agoText(-400), "now"], [agoText(61_000), "1 min ago"],
  ])("are written as %s", (text, expected) => {
    expect(text).toBe(expected);
  });
});

describe("the quorum in words", () => {
  test.each([
    [{ need: 2, have: 3, canLose: 1 }, 3, "good", "can lose 1"],
    [{ need: 2, have: 2, canLose: 0 }, 3, "warn", "can lose none"],
    [{ need: 2, have: 1, canLose: 0 }, 3, "bad", "needs 2: no writes"],
    [{ need: 3, have: 4, canLose: 1 }, 5, "warn", "can lose 1"],
    [{ need: 1, have: 1, canLose: 0 }, 1, "idle", "a cluster of one"],
  ])("of %j of %i voters is %s: %s", (quorum, voters, tone, text) => {
    expect(quorumVerdict(quorum, voters)).toEqual({ tone, text });
  });
});

test("a job that waits for a person to find something out is in doubt, one that sleeps is not", () => {
  const tones = ["unknown", "timer", "approval"].map((reason) => jobTone("waiting", reason));
  expect([...tones, jobTone("failed")]).toEqual(["doubt", "idle", "warn", "bad"]);
});

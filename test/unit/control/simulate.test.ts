import { describe, expect, test } from "vitest";
import { AetherError } from "../../../src/base/errors.ts";
import { playRecording } from "../../../src/control/play-recording.ts";

const SOON = { slice: "orders", window: "5s", for: "2s", cooldown: "5s" };
const RULES = JSON.stringify({
  bounds: { orders: { max: 5, every: "5s", reverseAfter: "20s" } },
  rules: [
    { name: "up", when: "avg(calls_per_second) / instances > 50", do: { add: 1 }, ...SOON },
    { name: "down", when: "avg(calls_per_second) / instances < 20", do: { remove: 1 }, ...SOON },
  ],
});

/** A load that is there from the tenth to the sixtieth second. */
function callsAt(second: number): number {
  return second >= 10 && second < 60 ? 140 : 5;
}

const CSV = ["seconds,slice,metric,value", ...Array.from({ length: 180 }, (_, second) =>
  `${second},orders,calls_per_second,${callsAt(second)}`)].join("\n");

const HISTORY = JSON.stringify({
  slices: { orders: { instances: 1 } },
  series: [
    { name: "slice/orders/callsPerSecond", points: Array.from({ length: 180 }, (_, second) =>
      [1_700_000_000_000 + second * 1_000, callsAt(second)]) },
    { name: "node/n1/rssBytes", points: [[1_700_000_000_000, 5]] },
  ],
});

function errorOf(recording: string): string {
  try {
    playRecording(RULES, recording);
    return "none";
  } catch (error) {
    return error instanceof AetherError ? `${error.code}: ${error.message}` : String(error);
  }
}

describe("a recorded load", () => {
  test.each([["CSV", CSV], ["JSON, as the history of metrics is", HISTORY]])("as %s is played", (_form, recording) => {
    const { seconds, decisions, slices } = playRecording(RULES, recording);
    expect(seconds).toBe(179);
    const made = decisions.flatMap(({ decision }) =>
      (decision.kind === "scale" ? [`${decision.from}-${decision.to}`] : []));
    expect(made).toEqual(["1-2", "2-3", "3-2", "2-1"]);
    expect(slices["orders"]).toMatchObject({ base: 1, least: 1, most: 3, last: 1, changes: 4 });
  });

  test("is played alike each time", () => {
    expect(playRecording(RULES, CSV)).toEqual(playRecording(RULES, CSV));
  });

  test.each([
    ["a line with too few cells", "seconds,slice,metric,value\n1,orders,calls_per_second", "line 2: expected seconds,"],
    ["a metric that is not known", "1,orders,calls,5", 'line 1: there is no metric "calls"'],
    ["a value that is no number", "1,orders,queued,many", 'line 1: "many" is no number'],
    ["no points", "seconds,slice,metric,value\n", "no point of any metric"],
    ["JSON that ends early", '{"series": [', "it is no JSON"],
    ["JSON of another form", '{"series": 5}', "series:"],
  ])("with %s is refused", (_what, recording, message) => {
    expect(errorOf(recording)).toContain("E_INVALID: this is no recording: ");
    expect(errorOf(recording)).toContain(message);
  });
});

describe("of a running cluster", () => {
  const startMs = 1_700_000_000_000;
  const seriesOf = (name: string, valueAt: (second: number) => number) => ({
    name, points: Array.from({ length: 60 }, (_, second) => [startMs + second * 1_000, valueAt(second)]),
  });
  const history = JSON.stringify({
    series: [
      seriesOf("slice/orders/callsPerSecond", () => 100),
      seriesOf("slice/orders/errorsPerSecond", (second) => (second < 30 ? 0 : 50)),
      seriesOf("cluster/cpuCores", (second) => (second < 30 ? 0.1 : 0.9)),
    ],
  });

  test.each(["avg(error_rate) > 0.2", "avg(cluster_cpu) > 0.8"])("rules can ask what they ask there: %s", (when) => {
    const rules = JSON.stringify({ rules: [{ name: "up", when, do: { add: 1 }, ...SOON }] });
    const { decisions } = playRecording(rules, history);
    const first = decisions.find(({ decision }) => decision.kind === "scale");
    expect(first?.second).toBeGreaterThan(30);
    expect(first?.second).toBeLessThan(45);
    // Before that they know too little of it.
    expect(decisions.filter(({ second, decision }) => second > 5 && decision.kind === "undecided")).toEqual([]);
  });
});

describe("with models beside the rules", () => {
  const QUIET = JSON.stringify({ bounds: { orders: { max: 5, stepUp: 4, every: "5s", reverseAfter: "20s" } } });
  const changesOf = (advice: string): readonly string[] =>
    playRecording(QUIET, CSV, advice).decisions.map(({ second, decision }) =>
      `${second} ${decision.kind === "scale" ? `${decision.from}-${decision.to}` : decision.kind}`);

  test("what they say is followed when they say it, a step at a time", () => {
    const said = "seconds,slice,instances\n10,orders,3\n60,orders,1\n";
    expect(changesOf(said).filter((change) => change.includes("-"))).toEqual(["10 1-3", "60 3-2", "65 2-1"]);
  });

  test("nonsense goes no further than the bounds, and nothing is said of a slice that is not there", () => {
    expect(changesOf("10,orders,4000\n10,nobody,3")[0]).toBe("10 1-5");
    expect(changesOf("10,orders,-3").filter((change) => change.includes("-"))).toEqual([]);
  });

  test("rules go first, and models speak where no rule does", () => {
    const { decisions } = playRecording(RULES, CSV, "40,orders,5\n");
    const sources = decisions.flatMap(({ decision }) => (decision.kind === "scale" ? [decision.source] : []));
    expect(sources.slice(0, 3)).toEqual(["rule up", "rule up", "model"]);
  });
});

import { expect, test } from "vitest";
import { parseNodeId } from "../../../../src/base/ids.ts";
import {
  FAILURE_DETECTOR_DEFAULTS, FailureDetector,
} from "../../../../src/cluster/membership/core/failure-detector.ts";

const [n1, n2, n3] = [parseNodeId("n1"), parseNodeId("n2"), parseNodeId("n3")];

/** n1's detector with time in steps of 250 ms, in which the peers that speak say whom they suspect. */
function watch() {
  const detector = new FailureDetector({ ...FAILURE_DETECTOR_DEFAULTS, self: n1 });
  detector.step({ kind: "members", members: [n1, n2, n3], voters: [n1, n2, n3] }, 0);
  let nowMs = 0;
  const step = (event: Parameters<FailureDetector["step"]>[0]) => detector.step(event, nowMs);
  return {
    detector,
    step,
    pass(durationMs: number, speakers: Partial<Record<"n2" | "n3", readonly (typeof n1)[]>>): void {
      for (const untilMs = nowMs + durationMs; nowMs < untilMs; ) {
        nowMs += 250;
        for (const [name, suspects] of Object.entries(speakers)) {
          step({ kind: "gossip", node: parseNodeId(name), suspects });
        }
        step({ kind: "tick" });
      }
    },
    pause(durationMs: number): void {
      nowMs += durationMs;
    },
  };
}

function formed() {
  const world = watch();
  world.step({ kind: "up", node: n2 });
  world.step({ kind: "up", node: n3 });
  world.step({ kind: "quorum", hasQuorum: true });
  world.pass(1_000, { n2: [], n3: [] });
  return world;
}

test("a node that was never met is suspected", () => {
  expect([...watch().detector.suspects]).toEqual([n2, n3]);
});

test("a closed connection is suspected at once", () => {
  const { detector, step } = formed();
  step({ kind: "down", node: n3 });
  expect([...detector.suspects]).toEqual([n3]);
});

test("a node is suspected after one second of silence and trusted with its next word", () => {
  const { detector, pass } = formed();
  pass(750, { n2: [] });
  expect(detector.suspects.size).toBe(0);
  pass(250, { n2: [] });
  expect([...detector.suspects]).toEqual([n3]);
  pass(250, { n2: [], n3: [] });
  expect(detector.suspects.size).toBe(0);
});

test("a node that a majority suspects for five seconds may be gone", () => {
  const { detector, pass, step } = formed();
  step({ kind: "down", node: n3 });
  pass(5_000, { n2: [n3] });
  expect(detector.goneCandidates.size).toBe(0);
  pass(250, { n2: [n3] });
  expect([...detector.goneCandidates]).toEqual([n3]);
});

test("the suspicion of one node alone makes nobody gone", () => {
  const { detector, pass, step } = formed();
  step({ kind: "down", node: n3 });
  pass(60_000, { n2: [] });
  expect([...detector.suspects]).toEqual([n3]);
  expect(detector.goneCandidates.size).toBe(0);
});

test("one word of the suspected node starts the five seconds anew", () => {
  const { detector, pass, step } = formed();
  step({ kind: "down", node: n3 });
  pass(4_000, { n2: [n3] });
  step({ kind: "up", node: n3 });
  step({ kind: "down", node: n3 });
  pass(4_000, { n2: [n3] });
  expect(detector.goneCandidates.size).toBe(0);
});

test("a node not seen since quorum was gained is left alone for 30 s", () => {
  const { detector, pass, step } = watch();
  step({ kind: "up", node: n2 });
  step({ kind: "quorum", hasQuorum: true });
  pass(29_750, { n2: [n3] });
  expect(detector.goneCandidates.size).toBe(0);
  pass(500, { n2: [n3] });
  expect([...detector.goneCandidates]).toEqual([n3]);
});

test("a node seen since quorum was gained gets no grace", () => {
  const { detector, pass, step } = watch();
  step({ kind: "up", node: n2 });
  step({ kind: "quorum", hasQuorum: true });
  step({ kind: "up", node: n3 });
  pass(500, { n2: [], n3: [] });
  step({ kind: "down", node: n3 });
  pass(5_250, { n2: [n3] });
  expect([...detector.goneCandidates]).toEqual([n3]);
});

test("a blink of quorum brings no grace, a real loss does", () => {
  const blink = formed();
  blink.step({ kind: "down", node: n3 });
  blink.step({ kind: "quorum", hasQuorum: false });
  blink.pass(500, { n2: [n3] });
  blink.step({ kind: "quorum", hasQuorum: true });
  blink.pass(5_000, { n2: [n3] });
  expect([...blink.detector.goneCandidates]).toEqual([n3]);

  const loss = formed();
  loss.step({ kind: "down", node: n3 });
  loss.step({ kind: "quorum", hasQuorum: false });
  loss.pass(2_000, { n2: [n3] });
  loss.step({ kind: "quorum", hasQuorum: true });
  loss.pass(10_000, { n2: [n3] });
  expect(loss.detector.goneCandidates.size).toBe(0);
});

test("without quorum nobody is gone", () => {
  const { detector, pass, step } = formed();
  step({ kind: "down", node: n3 });
  step({ kind: "quorum", hasQuorum: false });
  pass(20_000, { n2: [n3] });
  expect(detector.goneCandidates.size).toBe(0);
});

test("a pause of this process is not the silence of the others", () => {
  const { detector, pass, pause, step } = formed();
  pause(30_000);
  step({ kind: "tick" });
  expect(detector.suspects.size).toBe(0);
  pass(1_000, {});
  expect([...detector.suspects]).toEqual([n2, n3]);
});

test("a node is isolated unless a majority, itself included, hears it and is heard", () => {
  const { detector, pass, step } = formed();
  pass(250, { n2: [n1], n3: [] });
  expect(detector.isIsolated).toBe(false);
  pass(250, { n2: [n1], n3: [n1] });
  expect(detector.isIsolated).toBe(true);
  pass(250, { n2: [], n3: [n1] });
  expect(detector.isIsolated).toBe(false);
  step({ kind: "down", node: n2 });
  expect(detector.isIsolated).toBe(true);
});

test("a majority is one of the voters of the moment", () => {
  const { detector, pass, step } = formed();
  const n4 = parseNodeId("n4");
  // Five voters, of which n4 and n5 were never met: n1, n2 and n3 are a majority that suspects n4.
  step({ kind: "members", members: [n1, n2, n3, n4, parseNodeId("n5")], voters: [n1, n2, n3, n4, parseNodeId("n5")] });
  pass(60_000, { n2: [n4], n3: [] });
  expect([...detector.goneCandidates]).toEqual([]);
  pass(60_000, { n2: [n4], n3: [n4] });
  expect([...detector.goneCandidates]).toEqual([n4]);
});

test("a node that is no member is forgotten once it is not connected any more", () => {
  const { detector, step } = formed();
  const guest = parseNodeId("guest");
  step({ kind: "up", node: guest });
  step({ kind: "members", members: [n1, n2], voters: [n1, n2] });
  step({ kind: "tick" });
  expect(detector.suspects.size).toBe(0);
  step({ kind: "down", node: guest });
  step({ kind: "down", node: n3 });
  expect(detector.suspects.size).toBe(0);
  step({ kind: "down", node: n2 });
  expect([...detector.suspects]).toEqual([n2]);
});

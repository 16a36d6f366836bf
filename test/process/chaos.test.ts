// The short form of `npm run chaos`, without any privilege: what the long runs find, this must not have lost.
import { randomInt } from "node:crypto";
import { expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { NODES, runChaos } from "../chaos/chaos-run.ts";
import type { FaultKind } from "../chaos/faults.ts";
import { ProxyNetwork } from "../chaos/network/proxy-network.ts";
import { renderReport } from "../chaos/report.ts";

const KINDS: readonly FaultKind[] = ["kill", "pause", "isolate", "one way", "slow", "power cut"];
const MINUTE_MS = 60_000;
const DURATION_MS = 2 * MINUTE_MS;
/** Beside the faults: starting, healing, and judging what was recorded. */
const TEST_MS_MAX = 3 * DURATION_MS;
const PACE = { faultMsMin: 300, faultMsSpan: 1_500, restMs: 1_000 } as const;

test("under kills, pauses, cut links and a power cut every history is linearizable and nothing is lost", async () => {
  const seed = randomInt(1_000_000);
  const network = await ProxyNetwork.open(NODES, new SeededRandom(seed));
  const result = await runChaos({
    seed, network, durationMs: DURATION_MS, pace: PACE, kinds: KINDS, disk: "none", say: () => undefined,
  });
  process.stdout.write(renderReport(result));
  expect(result.violations, renderReport(result)).toEqual([]);
  expect(result.faults.length).toBeGreaterThan(0);
  const acknowledged = result.history.samples.filter(({ kind, outcome }) => kind === "write" && outcome === "ok");
  expect(acknowledged.length).toBeGreaterThan(0);
}, TEST_MS_MAX);

test("a cluster that forgets everything in a power cut is found out", async () => {
  const network = await ProxyNetwork.open(NODES, new SeededRandom(1));
  const forgetful = Object.assign(network, { launchOf: () => ({ variables: { AETHER_DURABILITY: "memory" } }) });
  const result = await runChaos({
    seed: 1, network: forgetful, durationMs: 1, pace: PACE, kinds: ["power cut"], disk: "none", say: () => undefined,
  });
  const found = result.violations.join("\n");
  expect(found).toContain("was acknowledged and is not in the list");
  expect(found).toContain("is not linearizable");
});

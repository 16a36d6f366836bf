import fc from "fast-check";
import { expect, test } from "vitest";
import { readFromAgent } from "../../../../../src/jobs/core/worker/agent-content.ts";
import { SeededRandom } from "../../../../../src/base/random.ts";
import { toPlain } from "../../../../../src/slices/core/plain-data.ts";
import { AGENT_PAYLOAD_BYTES_MAX } from "../../../../../src/slices/core/worker-content.ts";
import { AgentHost } from "../../../../support/agent-host.ts";
import { agentOf, observe, programs } from "../../../../support/mini-programs.ts";

/** Fields without value are left out. */
function asItTravels(message: unknown): unknown {
  const plain = toPlain(message, AGENT_PAYLOAD_BYTES_MAX);
  return plain.kind === "plain" ? plain.value : undefined;
}

test.each([
  { kind: "op", run: 1, n: 1, op: { kind: "step-completed", call: "a#1", value: undefined } },
  { kind: "op", run: 1, n: 1, op: { kind: "completed", output: undefined } },
  { kind: "emit", run: 1, data: undefined },
])("nothing is a value too: %j", (message) => {
  expect(readFromAgent(asItTravels(message))).toEqual(message);
});

test("everything that the runtime of agents says is understood as it is", async () => {
  await fc.assert(fc.asyncProperty(programs, fc.nat(), async (program, seed) => {
    const observed = observe();
    const random = new SeededRandom(seed);
    const host = new AgentHost({ agent: agentOf(program, observed) });
    for (let move = 0; move < 20 && !host.isEnded; move += 1) {
      await host.goOn();
      observed.open.shift()?.end(random.below(100));
      for (const call of host.waits.keys()) host.offer({ kind: "timer-fired" }, call);
    }
    for (const message of host.heard) expect(readFromAgent(asItTravels(message))).toEqual(message);
  }), { numRuns: 50 });
});

test.each([
  undefined, "op", {}, { kind: "op" }, { kind: "op", run: 1, n: 1 },
  { kind: "op", run: 1, n: 0.5, op: { kind: "cancelled" } },
  { kind: "op", run: 1, n: 1, op: { kind: "want-child", call: "a#1", agent: "a", input: 1, isDetached: false } },
  { kind: "op", run: 1, n: 1, op: { kind: "value", call: "", value: 1 } },
  {
    kind: "op", run: 1, n: 1,
    op: { kind: "outcome", call: "a#1", effectId: "x", outcome: { kind: "unknown", reason: "" } },
  },
  { kind: "op", run: 1, n: 1, op: { kind: "want-wait", call: "a#1", wait: { kind: "timer", dueMs: Number.NaN } } },
  { kind: "diverged", run: 1, error: { name: 1 } },
])("%j is not understood", (payload) => {
  expect(readFromAgent(payload)).toBeUndefined();
});

test("whatever it is, looking at it throws nothing", () => {
  fc.assert(fc.property(fc.anything(), (payload) => void readFromAgent(payload)));
});

import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineAgent } from "../../../../src/sdk/agent.ts";
import { AgentHost } from "../../../support/agent-host.ts";

const steps = defineAgent({
  name: "steps",
  input: z.number(),
  output: z.number(),
  run: async (job, input) => {
    const a = await job.step("a", () => input + 1);
    const b = await job.step("b", async () => a * 2);
    return b;
  },
});

describe("the code of an agent", () => {
  test("runs its steps, each after the one before is committed, and ends with its output", async () => {
    const host = new AgentHost({ agent: steps, input: 1 });
    await host.clock.settle();
    expect(host.told).toEqual([{ kind: "step-completed", call: "a#1", value: 2 }]);
    host.commit();
    await host.clock.settle();
    expect(host.told.slice(1)).toEqual([
      { kind: "step-completed", call: "b#1", value: 4 }, { kind: "completed", output: 4 },
    ]);
  });
});

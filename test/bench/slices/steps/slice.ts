// Owns: an agent whose steps do nothing, so that a benchmark measures what a step costs. It sums up what its steps
// answered, so that a result shows that each was there.
import { defineAgent } from "aether/slice";
import { z } from "zod";

export default defineAgent({
  name: "steps",
  input: z.object({ steps: z.int(), effect: z.enum(["barrier", "read"]) }),
  output: z.object({ sum: z.int() }),
  run: async (job, { steps, effect }) => {
    let sum = 0;
    for (let at = 1; at <= steps; at++) {
      const options = effect === "read" ? { effect: "read" as const } : {};
      sum += await job.step(`step ${at}`, () => at, options);
    }
    return { sum };
  },
});

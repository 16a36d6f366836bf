// An agent whose tool cannot say what became of its calls, so that a person has to.
import { defineAgent, defineSignal, defineTool } from "aether/slice";
import { z } from "zod";

const charge = defineTool({
  name: "charge",
  input: z.object({ url: z.string() }),
  output: z.object({ receipt: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/${effectId}`, { method: "POST" });
    if (!answer.ok) throw new Error("the shop did not say what it did");
    return { receipt: await answer.text() };
  },
});

const go = defineSignal("go", z.object({ by: z.string() }));

export default defineAgent({
  name: "doubtful",
  input: z.object({ url: z.string() }),
  output: z.object({ receipt: z.string(), by: z.string() }),
  tools: { charge },
  signals: [go],
  run: async (job, input) => {
    const told = await job.waitFor(go, { timeout: "1 h" });
    const { receipt } = await job.tools.charge(input);
    return { receipt, by: told?.by ?? "nobody" };
  },
});

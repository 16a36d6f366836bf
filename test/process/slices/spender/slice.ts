// An agent that spends: on a model with a price, and on a tool. What the tool does is told to a server of the test.
import { defineAgent, defineTool, scripted } from "aether/slice";
import { z } from "zod";

const outside = z.object({ url: z.string() });

const ship = defineTool({
  name: "ship",
  input: outside,
  output: z.object({ parcel: z.string() }),
  effect: "once",
  cost: { usd: 0.4 },
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/${effectId}`, { method: "POST" });
    return { parcel: await answer.text() };
  },
});

export default defineAgent({
  name: "spender",
  input: outside,
  output: z.object({ parcel: z.string(), asked: z.int() }),
  tools: { ship },
  models: {
    judge: scripted(() => ({ text: "yes", usage: { inputTokens: 50, outputTokens: 50 } }), {
      price: { inputPerMillion: 1_000, outputPerMillion: 1_000 }, maxTokens: 200,
    }),
  },
  budget: { usd: 0.5, tokens: 10_000 },
  run: async (job, { url }) => {
    let asked = 0;
    while (asked < 3) {
      await job.llm("judge", { prompt: "go on?" });
      asked += 1;
    }
    const { parcel } = await job.tools.ship({ url });
    return { parcel, asked };
  },
});

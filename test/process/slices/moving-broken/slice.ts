// The agent without its mistake and with another one: it charges what none of its jobs has charged.
import { defineAgent, defineSignal, defineTool } from "aether/slice";
import { z } from "zod";

const charge = defineTool({
  name: "charge",
  input: z.object({ url: z.string(), cents: z.number() }),
  output: z.object({ receipt: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/${effectId}`, { method: "POST" });
    return { receipt: await answer.text() };
  },
});

const go = defineSignal("go", z.object({ by: z.string() }));

export default defineAgent({
  name: "moving",
  input: z.object({ url: z.string() }),
  output: z.object({ receipt: z.string(), by: z.string(), version: z.string() }),
  tools: { charge },
  signals: [go],
  run: async (job, { url }) => {
    await job.step("load", () => 1);
    const { receipt } = await job.tools.charge({ url, cents: 200 });
    const told = await job.waitFor(go);
    return { receipt, by: told?.by ?? "nobody", version: "1.2.0" };
  },
});

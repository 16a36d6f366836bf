// The agent without its mistake and with another one: it charges what none of its jobs has charged.
import { defineAgent, defineSignal } from "aether/slice";
import { z } from "zod";
import { charge, input, output } from "../moving/parts.ts";

const go = defineSignal("go", z.object({ by: z.string() }));

export default defineAgent({
  name: "moving",
  input,
  output,
  tools: { charge },
  signals: [go],
  run: async (job, { url }) => {
    await job.step("load", () => 1);
    const { receipt } = await job.tools.charge({ url, cents: 200 });
    const told = await job.waitFor(go);
    return { receipt, by: told?.by ?? "nobody", version: "1.2.0" };
  },
});

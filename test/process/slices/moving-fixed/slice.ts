// The agent without its mistake: it does what the logs of its jobs say. It wants to know more of its signal.
import { defineAgent, defineSignal } from "aether/slice";
import { z } from "zod";
import { charge, input, output } from "../moving/parts.ts";

const go = defineSignal("go", z.object({ by: z.string(), why: z.string() }));

export default defineAgent({
  name: "moving",
  input,
  output,
  tools: { charge },
  signals: [go],
  run: async (job, { url }) => {
    await job.step("load", () => 1);
    const { receipt } = await job.tools.charge({ url, cents: 100 });
    const told = await job.waitFor(go);
    return { receipt, by: told?.by ?? "nobody", version: "1.1.0" };
  },
});

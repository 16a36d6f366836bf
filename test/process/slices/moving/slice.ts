// An agent with a mistake: what it does depends on a flag that it asks for outside of its job.
import { defineAgent, defineSignal } from "aether/slice";
import { z } from "zod";
import { charge, input, output } from "./parts.ts";

const go = defineSignal("go", z.object({ by: z.string() }));

export default defineAgent({
  name: "moving",
  input,
  output,
  tools: { charge },
  signals: [go],
  run: async (job, { url }) => {
    // What stands here is asked anew whenever the code is run, and may be another answer.
    const flag = await (await fetch(`${url}/flag`)).text();
    await job.step(flag === "on" ? "load" : "fetch", () => 1);
    const { receipt } = await job.tools.charge({ url, cents: 100 });
    const told = await job.waitFor(go);
    return { receipt, by: told?.by ?? "nobody", version: "1.0.0" };
  },
});

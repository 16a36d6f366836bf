// An agent that goes on when a person allows it to.
import { defineAgent } from "aether/slice";
import { z } from "zod";

export default defineAgent({
  name: "approving",
  input: z.object({ cents: z.int(), timeout: z.string().optional() }),
  output: z.object({ approved: z.boolean(), by: z.string(), data: z.unknown() }),
  run: async (job, { cents, timeout }) => {
    const limited = timeout === undefined ? {} : { timeout };
    const { approved, by = "nobody", data = null } = await job.approve("manager", {
      summary: `Refund ${cents} cents?`, data: { cents }, ...limited,
    });
    return { approved, by, data };
  },
});

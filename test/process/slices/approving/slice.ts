// An agent that goes on when a person allows it to.
import { defineAgent, defineTool, isToolRejected } from "aether/slice";
import { z } from "zod";

const refund = defineTool({
  name: "refund",
  input: z.object({ cents: z.int() }),
  output: z.string(),
  effect: "once",
  approval: ({ cents }) => cents > 1_000 && { summary: `Refund ${cents} cents for good?` },
  execute: ({ cents }) => `refunded ${cents}`,
});

export default defineAgent({
  name: "approving",
  input: z.object({ cents: z.int(), timeout: z.string().optional(), pays: z.boolean().default(false) }),
  output: z.object({ approved: z.boolean(), by: z.string(), data: z.unknown() }),
  tools: { refund },
  run: async (job, { cents, timeout, pays }) => {
    if (pays) {
      try {
        return { approved: true, by: "", data: await job.tools.refund({ cents }) };
      } catch (error) {
        if (!isToolRejected(error)) throw error;
        return { approved: false, by: error.details.by ?? "nobody", data: error.details.data };
      }
    }
    const limited = timeout === undefined ? {} : { timeout };
    const { approved, by = "nobody", data = null } = await job.approve("manager", {
      summary: `Refund ${cents} cents?`, data: { cents }, ...limited,
    });
    return { approved, by, data };
  },
});

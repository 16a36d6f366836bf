// Owns: an agent that gives customers their money back: a model reads their letter, a person decides about large
// amounts, another agent tells them while it waits for as long as they may still change their mind, and it pays once.
import { defineAgent, defineContract, defineSlice } from "aether/slice";
import { z } from "zod";
import { letterReader, READER_IS_TOLD, readingSchema } from "./letters.ts";
import { notices } from "./notices.ts";
import { refund } from "./payments.ts";

/** More than that is for a person to decide. */
const CENTS_WITHOUT_ASKING_MAX = 10_000;

const refunds = defineAgent({
  name: "refunds",
  input: z.object({
    order: z.string(),
    cents: z.int().min(1),
    letter: z.string(),
    /** How long the customer may still change their mind. */
    regret: z.string().default("2 s"),
    payments: z.url().default("http://127.0.0.1:7301"),
  }),
  /** One of them: the number of the refund, or why there is none. */
  output: z.object({ refund: z.string().exactOptional(), refused: z.string().exactOptional() }),
  tools: { refund },
  models: { reader: letterReader },
  run: async (job, { order, cents, letter, regret, payments }) => {
    const { output: { reason } } = await job.llm("reader", {
      system: READER_IS_TOLD, prompt: letter, output: readingSchema,
    });
    if (reason === "none") return { refused: "the letter names no reason" };
    if (cents > CENTS_WITHOUT_ASKING_MAX) {
      const { approved, by } = await job.approve("manager", {
        summary: `Refund ${cents} cents for order ${order}?`, data: { order, cents, letter }, timeout: "3 days",
      });
      if (!approved) return { refused: by === undefined ? "nobody decided in time" : `refused by ${by}` };
    }
    await job.all({
      regret: (branch) => branch.sleep("regret", regret),
      notice: (branch) => branch.child(notices, { order, cents, reason, payments }),
    });
    return await job.tools.refund({ order, cents, payments });
  },
});

export default defineSlice({
  contract: defineContract("refunds", {}),
  agents: [refunds, notices],
  methods: {},
});

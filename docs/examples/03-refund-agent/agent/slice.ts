// Owns: an agent that gives customers their money back: it reads their letter, asks a person about large amounts, waits
// for as long as the customer may still change their mind, and pays once.
import { defineAgent, defineSignal } from "aether/slice";
import { z } from "zod";
import { refund } from "./payments.ts";

/** More than that is for a person to decide. */
const CENTS_WITHOUT_ASKING_MAX = 10_000;

/** What a person says about a large refund. */
const approval = defineSignal("approval", z.object({ approved: z.boolean() }));

export default defineAgent({
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
  signals: [approval],
  run: async (job, { order, cents, letter, regret, payments }) => {
    const isEntitled = await job.step("read the letter", () => /broken|late|never/i.test(letter));
    if (!isEntitled) return { refused: "the letter names no reason" };
    if (cents > CENTS_WITHOUT_ASKING_MAX) {
      const told = await job.waitFor(approval, { timeout: "3 days" });
      if (told?.approved !== true) return { refused: "nobody approved it" };
    }
    await job.sleep("regret", regret);
    return await job.tools.refund({ order, cents, payments });
  },
});

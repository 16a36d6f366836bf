// Owns: an agent that tells customers that their money is on its way. What it sends may be sent again under its effect
// id: the other side knows it then.
import { defineAgent, defineTool } from "aether/slice";
import { z } from "zod";
import { REASONS } from "./letters.ts";

const send = defineTool({
  name: "send",
  input: z.object({ order: z.string(), text: z.string(), payments: z.url() }),
  output: z.object({ notice: z.string() }),
  effect: "idempotent",
  execute: async ({ payments, ...notice }, { effectId, signal }) => {
    const response = await fetch(`${payments}/notices/${effectId}`, {
      method: "PUT", body: JSON.stringify(notice), signal,
    });
    if (!response.ok) throw new Error(`the payment service answered ${response.status}`);
    return { notice: effectId };
  },
});

export const notices = defineAgent({
  name: "notices",
  input: z.object({ order: z.string(), cents: z.int(), reason: z.enum(REASONS), payments: z.url() }),
  output: z.object({ notice: z.string() }),
  tools: { send },
  run: async (job, { order, cents, reason, payments }) => {
    const text = await job.step("write", () =>
      `Your order ${order} (${reason}): we give ${(cents / 100).toFixed(2)} back, unless you change your mind.`);
    return await job.tools.send({ order, text, payments });
  },
});

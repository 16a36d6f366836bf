// Owns: what the agent has to do with the payment service: a tool that must not be called twice, and may not answer.
import { defineTool } from "aether/slice";
import { z } from "zod";

const refundSchema = z.object({ refund: z.string() });

export const refund = defineTool({
  name: "refund",
  input: z.object({ order: z.string(), cents: z.int(), payments: z.url() }),
  output: refundSchema,
  effect: "once",
  timeoutMs: 3_000,
  // No request takes longer than that to arrive.
  settleMs: 5_000,
  execute: async ({ payments, ...wanted }, { effectId, signal }) => {
    const response = await fetch(`${payments}/refunds`, {
      method: "POST", body: JSON.stringify(wanted), headers: { "idempotency-key": effectId }, signal,
    });
    // Whatever else it says, it may have done it.
    if (!response.ok) throw new Error(`the payment service answered ${response.status}`);
    return refundSchema.parse(await response.json());
  },
  reconcile: async ({ payments }, { effectId, signal }) => {
    const response = await fetch(`${payments}/refunds/${effectId}`, { signal });
    if (response.ok) return { status: "done", result: refundSchema.parse(await response.json()) };
    if (response.status === 404) return { status: "not-done" };
    return { status: "unknown", reason: `the payment service answered ${response.status}` };
  },
});

// An agent that can be held at every arrow between its node, its tool and the world outside. The gates are outside.
import { defineAgent, defineTool } from "aether/slice";
import { z } from "zod";

const place = z.object({ url: z.string(), name: z.string() });
type Place = z.output<typeof place>;
const receiptSchema = z.object({ receipt: z.string() });

/** Whoever is let through late is not told that its time is over: a process that stood still does not know either. */
async function gate({ url, name }: Place, where: string): Promise<void> {
  await (await fetch(`${url}/gate/${name}/${where}`)).text();
}

const parts = { input: place, output: receiptSchema, timeoutMs: 8_000 } as const;

async function pay(at: Place, effectId: string, assertOwner: () => void): Promise<z.output<typeof receiptSchema>> {
  await gate(at, "granted");
  assertOwner();
  await gate(at, "checked");
  const response = await fetch(`${at.url}/pay/${at.name}/${effectId}`, { method: "POST" });
  const answer = receiptSchema.parse(await response.json());
  await gate(at, "answered");
  return answer;
}

const look = defineTool({
  ...parts, name: "look", effect: "read",
  execute: (at, { effectId, assertOwner }) => pay(at, effectId, assertOwner),
});

const put = defineTool({
  ...parts, name: "put", effect: "idempotent",
  execute: (at, { effectId, assertOwner }) => pay(at, effectId, assertOwner),
});

const charge = defineTool({
  ...parts, name: "charge", effect: "once", settleMs: 3_000,
  execute: (at, { effectId, assertOwner }) => pay(at, effectId, assertOwner),
  reconcile: async ({ url }, { effectId }) => {
    const response = await fetch(`${url}/paid/${effectId}`);
    if (response.status === 404) return { status: "not-done" };
    return { status: "done", result: receiptSchema.parse(await response.json()) };
  },
});

export default defineAgent({
  name: "arrows",
  input: place.extend({ effect: z.enum(["read", "idempotent", "once"]) }),
  output: receiptSchema,
  tools: { look, put, charge },
  run: async (job, { effect, ...at }) => {
    await job.step("before", () => gate(at, "before"));
    const call = { read: job.tools.look, idempotent: job.tools.put, once: job.tools.charge }[effect];
    const { receipt } = await call(at);
    await job.step("after", () => gate(at, "recorded"));
    return { receipt };
  },
});

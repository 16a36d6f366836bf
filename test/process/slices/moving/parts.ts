// What the versions of the agent have alike: what is outside of it, and the forms of its input and its output.
import { defineTool } from "aether/slice";
import { z } from "zod";

export const input = z.object({ url: z.string() });
export const output = z.object({ receipt: z.string(), by: z.string(), version: z.string() });

export const charge = defineTool({
  name: "charge",
  input: z.object({ url: z.string(), cents: z.number() }),
  output: z.object({ receipt: z.string() }),
  effect: "once",
  execute: async ({ url }, { effectId }) => {
    const answer = await fetch(`${url}/${effectId}`, { method: "POST" });
    return { receipt: await answer.text() };
  },
});

// Agents that pay, look after a take-over whether it is so outside, and hold on in between.
import { defineAgent, defineContract, defineSlice, defineTool, type ToolVerifier } from "aether/slice";
import { z } from "zod";

const input = z.object({ url: z.string() });
type Input = z.output<typeof input>;

function payer<const N extends string>(name: N, onMismatch: ToolVerifier<Input, string>["onMismatch"]) {
  const pay = defineTool({
    name: "pay", input, output: z.string(), effect: "once",
    execute: async ({ url }, { effectId }) => (await fetch(`${url}/pay/${effectId}`, { method: "POST" })).text(),
    verify: {
      onMismatch,
      check: async ({ url }, receipt, { effectId, signal }) => {
        const found = await (await fetch(`${url}/paid/${effectId}`, { signal })).text();
        return found === receipt || { agrees: false, why: `outside it is "${found}"` };
      },
    },
  });
  return defineAgent({
    name, input, output: z.string(), tools: { pay },
    run: async (job, given) => {
      const receipt = await job.tools.pay(given);
      await job.step("hold", async () => (await fetch(`${given.url}/hold`)).text());
      return receipt;
    },
  });
}

const agents = [payer("strict-payer", "strict"), payer("warned-payer", "warn"), payer("human-payer", "human")];
export default defineSlice({ contract: defineContract("verifying", {}), agents, methods: {} });

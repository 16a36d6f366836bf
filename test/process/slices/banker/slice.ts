// An agent whose tools are those of an MCP server of the test, started by the worker.
import { mcpTools } from "aether/mcp";
import { defineAgent, secret } from "aether/slice";
import { z } from "zod";

const { MCP_NODE = "node", MCP_PROGRAM = "", MCP_OUTSIDE = "" } = process.env;
const receipt = z.object({ receipt: z.string() });
const foundSchema = z.object({ found: z.array(z.object({ paid: z.string() })) });

const bank = mcpTools({
  server: {
    command: MCP_NODE, args: [MCP_PROGRAM], env: { OUTSIDE: MCP_OUTSIDE, KEY: secret("bank-key") },
  },
  tools: {
    pay: { output: receipt, timeoutMs: 60_000 },
    pay_surely: {
      tool: "pay",
      output: receipt,
      timeoutMs: 60_000,
      reconcile: async (_input, { effectId, ask }) => {
        const [first] = foundSchema.parse(await ask("find", { effectId })).found;
        if (first === undefined) return { status: "not-done" };
        return { status: "done", result: { receipt: `r-${first.paid}` } };
      },
    },
    pid: { effect: "read", output: z.int() },
    noise: { effect: "read" },
  },
});

export default defineAgent({
  name: "banker",
  input: z.object({ order: z.string(), then: z.string().default("answers"), isSure: z.boolean().default(false) }),
  output: z.object({ receipt: z.string(), pid: z.int() }),
  tools: bank,
  run: async (job, { order, then, isSure }) => {
    const { pay, pay_surely: paySurely, pid, noise } = job.tools;
    await noise({ lines: 5 });
    const paid = await (isSure ? paySurely : pay)({ order, then });
    return { ...paid, pid: await pid({}) };
  },
});

// An agent that asks a model of the test, and a tool that tells the key it was given to whoever it can.
import { defineAgent, defineTool, openAi, secret } from "aether/slice";
import { z } from "zod";

const key = secret("llm-key");

const blab = defineTool({
  name: "blab",
  input: z.object({ how: z.enum(["answer", "throw"]) }),
  output: z.unknown(),
  effect: "read",
  secrets: [key],
  execute: ({ how }, { secret: read }) => {
    console.log(`the key is ${read(key)}`);
    if (how === "throw") throw new Error(`cannot pay with ${read(key)}`);
    return { header: `Bearer ${read(key)}` };
  },
});

const absent = defineTool({
  name: "absent",
  input: z.object({}),
  output: z.string(),
  effect: "read",
  secrets: [secret("not-there")],
  execute: () => "never called",
});

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export default defineAgent({
  name: "asker",
  input: z.object({ question: z.string(), blabs: z.boolean().default(false) }),
  output: z.object({ cents: z.int(), said: z.array(z.string()) }),
  tools: { blab, absent },
  models: { fast: openAi({ baseUrl: process.env["LLM_URL"] ?? "http://127.0.0.1:9", model: "small", apiKey: key }) },
  run: async (job, { question, blabs }) => {
    const said: string[] = [];
    if (blabs) {
      said.push(JSON.stringify(await job.tools.blab({ how: "answer" })));
      said.push(await job.tools.blab({ how: "throw" }).then(String, messageOf));
      said.push(await job.tools.absent({}).catch(messageOf));
    }
    const { output } = await job.llm("fast", {
      prompt: question, output: z.object({ cents: z.int() }), timeoutMs: 30_000,
    });
    return { cents: output.cents, said };
  },
});

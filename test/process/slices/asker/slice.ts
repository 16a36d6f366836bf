// An agent that asks a model of the test, and has a tool that tells the key it was given to whoever it can; an agent
// whose tool is a service of the test.
import { defineAgent, defineContract, defineSlice, defineTool, httpTool, openAi, secret } from "aether/slice";
import { z } from "zod";

const key = secret("llm-key");
const outside = process.env["LLM_URL"] ?? "http://127.0.0.1:9";

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

const asker = defineAgent({
  name: "asker",
  input: z.object({ question: z.string(), blabs: z.boolean().default(false) }),
  output: z.object({ cents: z.int(), said: z.array(z.string()) }),
  tools: { blab, absent },
  models: { fast: openAi({ baseUrl: outside, model: "small", apiKey: key }) },
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

const ship = httpTool({
  name: "ship",
  url: `${outside}/ship`,
  effect: "once",
  bearer: key,
  input: z.object({ order: z.string() }),
  output: z.object({ parcel: z.string() }),
  reconcile: { url: `${outside}/find` },
});

const shipper = defineAgent({
  name: "shipper",
  input: z.object({ order: z.string() }),
  output: z.object({ parcel: z.string() }),
  tools: { ship },
  run: (job, input) => job.tools.ship(input),
});

export default defineSlice({ contract: defineContract("asker", {}), agents: [asker, shipper], methods: {} });

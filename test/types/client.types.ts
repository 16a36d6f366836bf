// Owns: what must and must not compile for people who drive jobs with the client. Never executed: `tsc` is the test.
import { z } from "zod";
import { connect, type JobHandle } from "../../src/index.ts";
import { defineSignal } from "../../src/sdk/index.ts";
import { claims } from "./agent.types.ts";

const documents = defineSignal("documents", z.object({ url: z.string(), pages: z.number().default(1) }));

export async function drive(): Promise<boolean> {
  const client = connect({ nodes: ["http://127.0.0.1:7201"] });
  // Input side of the input's schema: `retries` may be left out.
  const job = await client.agent(claims).start({ order: "o-1" }, { id: "claim-1", attributes: { shop: "north" } });
  // @ts-expect-error the input is the agent's
  await client.agent(claims).start({ orderId: "o-1" });
  await job.signal(documents, { url: "https://example.org/1" });
  // @ts-expect-error the payload is the signal's
  await job.signal(documents, { pages: 2 });
  await job.approve("manager", { data: { note: "fine" } });
  // Output side of the output's schema: the default has been filled in.
  const note: string = (await job.result({ timeoutMs: 1_000 })).note;
  const outcome = await client.agent(claims).job("claim-1").outcome();
  if (outcome.kind === "failed") return outcome.error.code === note;
  const unknown: JobHandle = client.job("claim-1");
  const result: unknown = await unknown.result();
  return outcome.kind === "completed" && outcome.output.paid && result !== undefined;
}

// Slow. The owner of a job dies with kill -9 while a call of its tool is open: another node goes on, does nothing again
// that the log records, and the payment is made once.
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";

const PACKAGE = fileURLToPath(new URL("./slices/agents", import.meta.url));
const jobSchema = z.looseObject({ job: z.string() });
const paidSchema = z.looseObject({
  kind: z.literal("completed"),
  output: z.object({ paid: z.string(), before: z.int(), after: z.int() }),
});
const endedSchema = z.looseObject({ result: paidSchema });
const shownSchema = z.looseObject({ owner: z.string().optional() });

/** What is outside: it pays, and answers only while it is let. */
class Payments {
  readonly paid = new Map<string, number>();
  readonly held: { readonly key: string; readonly answer: ServerResponse }[] = [];
  mode: "pay-and-hang" | "hang" | "pay" = "pay";
  private readonly server: Server = createServer((request, answer) => {
    const [, verb = "", key = ""] = (request.url ?? "").split("/");
    if (verb === "paid") {
      answer.statusCode = this.paid.has(key) ? 200 : 404;
      answer.end(`receipt ${key.slice(0, 4)}`);
      return;
    }
    if (this.mode !== "hang") this.paid.set(key, (this.paid.get(key) ?? 0) + 1);
    if (this.mode === "pay") answer.end(`receipt ${key.slice(0, 4)}`);
    else this.held.push({ key, answer });
  });

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => void this.server.listen(0, "127.0.0.1", resolve));
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

const payments = new Payments();
let fleet: NodeFleet;

beforeAll(async () => {
  await payments.open();
  fleet = await NodeFleet.create();
  await fleet.startAll();
  const push = fleet.run(["--api", fleet.api("n1"), "slice", "push", PACKAGE]);
  expect((await push.waitForEnd()).code, push.transcript()).toBe(0);
  const slices = { agents: { artifact: "test:agents@^1.0.0", instances: 0 } };
  const applied = await ask(`${fleet.api("n1")}/v1/blueprints/agents`, { method: "PUT", body: { slices } });
  expect(applied).toMatchObject({ status: 200 });
});

afterAll(async () => {
  await fleet.close();
  payments.close();
});

async function ownerOf(via: string, job: string): Promise<string> {
  return await eventually(`job ${job} has an owner`, async () => {
    const { body } = await ask(`${fleet.api(via)}/v1/jobs/${job}`);
    return shownSchema.parse(body).owner;
  });
}

test.each([
  ["was paid and not answered", "pay-and-hang"], ["was not paid", "hang"],
] as const)("a job whose owner dies while its payment %s pays once", async (_what, mode) => {
  payments.mode = mode;
  payments.held.length = 0;
  const body = { agent: "paying", input: { url: payments.url } };
  const started = await ask(`${fleet.api("n1")}/v1/jobs`, { method: "POST", body });
  const { job } = jobSchema.parse(started.body);
  const held = await eventually("its payment hangs", () => Promise.resolve(payments.held[0]));
  const owner = await ownerOf("n2", job);
  payments.mode = "pay";
  await fleet.kill(owner);
  const via = owner === "n1" ? "n2" : "n1";
  const { paid, before, after } = await eventually(`job ${job} has ended`, async () => {
    const { status, body: ended } = await ask(`${fleet.api(via)}/v1/jobs/${job}/result?waitMs=5000`);
    return status === 200 ? endedSchema.parse(ended).result.output : undefined;
  });
  expect(paid).toBe(`receipt ${held.key.slice(0, 4)}`);
  // What was recorded was not done again, and what came after was done elsewhere.
  expect(before).not.toBe(after);
  expect(payments.paid.get(held.key)).toBe(1);
  await fleet.start(owner);
});

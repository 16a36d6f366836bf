// Slow. The README of the second example shop, its commands run as its readers run them, on three nodes.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet, type Answer } from "../support/node-fleet.ts";
import { shellLinesOf } from "./support/readme-commands.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const README = `${ROOT}docs/examples/02-shop/README.md`;
/** The ports of `aether dev`, by which the README names the nodes. */
const FIRST_API_PORT = 7201;

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
});

afterAll(() => fleet.close());

/** What the command printed. */
async function aether(...words: readonly string[]): Promise<string> {
  const command = fleet.run([...words, "--api", fleet.api("n1")], { directory: ROOT });
  const { code } = await command.waitForEnd(60_000);
  expect(code, `${words.join(" ")}: ${command.transcript()}`).toBe(0);
  return command.stdout.join("\n");
}

async function curl(words: readonly string[]): Promise<Answer> {
  const url = new URL(words.find((word) => word.startsWith("http")) ?? "");
  const node = fleet.names[Number(url.port) - FIRST_API_PORT] ?? "";
  const valueOf = (flag: string): string | undefined =>
    (words.includes(flag) ? words[words.indexOf(flag) + 1] : undefined);
  const raw = valueOf("-d");
  const method = valueOf("-X") ?? "GET";
  return await ask(`${fleet.api(node)}${url.pathname}${url.search}`, { method, ...(raw === undefined ? {} : { raw }) });
}

const told = z.object({ texts: z.array(z.string()) });
const placed = z.object({ status: z.literal("placed"), id: z.string() });

test("every command of its README does what the page says", { timeout: 300_000 }, async () => {
  const printed = new Map<string, string[]>();
  const answers: Answer[] = [];
  for (const { program, words } of shellLinesOf(await readFile(README, "utf8"))) {
    if (program === "curl") answers.push(await curl(words));
    else {
      expect([program, words[0]]).toEqual(["npx", "aether"]);
      const what = words.slice(1, 4).join(" ");
      printed.set(what, [...(printed.get(what) ?? []), await aether(...words.slice(1))]);
    }
  }
  const outputs = (what: string): readonly unknown[] =>
    (printed.get(what) ?? []).map((text) => JSON.parse(text) as unknown);
  const [first, second] = outputs("call orders place").map((output) => placed.parse(output));
  expect(second).toEqual(first);
  expect(outputs("call orders preview")).toMatchObject([{ totalCents: 3_000, currency: "EUR" }]);
  expect(outputs("call orders list")).toMatchObject([{ orders: [{ id: first?.id, sku: "book", status: "placed" }] }]);
  expect(outputs("call inventory levels")).toEqual([{ available: 99 }]);
  expect(outputs("call inventory recount")).toEqual([{ corrected: [] }]);
  expect(printed.get("kv list data/slices/inventory/")?.join()).toContain("data/slices/inventory/stock/chair");
  expect(printed.get("kv list topics/")?.join()).toContain("topics/order-changed/groups/notifications");
  expect(printed.get("blueprint status shop")?.join()).toContain("* * * * *");
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect(answers.map(({ body }) => body)).toMatchObject([
    { totalCents: 12_900 }, { status: "placed", totalCents: 25_800 }, { status: "out-of-stock", available: 1 },
    { orders: [{}, {}] },
  ]);
  await eventually("customers are told", async () => {
    const { texts } = told.parse(JSON.parse(await aether("call", "notifications", "sent", "{}")));
    expect(texts).toHaveLength(2);
    return texts.some((text) => text.includes(`${first?.id} is placed, 15.00`)) || undefined;
  });
});

test("nothing is forgotten when a node is killed", async () => {
  await fleet.kill("n3");
  await eventually("orders are listed", async () => {
    const answer = await ask(`${fleet.api("n1")}/shop/orders`);
    return z.object({ orders: z.array(z.unknown()).length(2) }).safeParse(answer.body).success || undefined;
  });
  const refused = await ask(`${fleet.api("n2")}/shop/orders`, { method: "POST", body: { sku: "chair", quantity: 2 } });
  expect(refused).toMatchObject({ status: 200, body: { status: "out-of-stock", available: 1 } });
});

// Slow. The README of the refund agent, its commands run as its readers run them, on three nodes.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { PaymentService } from "./support/payment-service.ts";
import { shellLinesOf } from "./support/readme-commands.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const README = `${ROOT}docs/examples/03-refund-agent/README.md`;
/** Where the README has the payment service. */
const PAYMENTS = "http://127.0.0.1:7301";

const shownSchema = z.object({
  status: z.string(),
  waiting: z.object({ reason: z.string() }).optional(),
  tools: z.array(z.object({ state: z.string() })),
  result: z.unknown().optional(),
});
/** What has to be decided by a person. */
const DECISIONS: readonly (string | undefined)[] = ["approve", "reject", "resolve"];

let fleet: NodeFleet;
let payments: PaymentService;

beforeAll(async () => {
  payments = await PaymentService.start("--troubles", "0", "--lost", "0", "--silent", "0");
  fleet = await NodeFleet.create();
  await fleet.startAll();
});

afterAll(async () => {
  await fleet.close();
  payments.close();
});

async function shown(job: string): Promise<z.output<typeof shownSchema>> {
  return shownSchema.parse((await ask(`${fleet.api("n2")}/v1/jobs/${job}`)).body);
}

/** A reader needs a moment between two commands; this is what has to have come about by then. */
async function awaitTurn([what, verb, job = ""]: readonly string[]): Promise<void> {
  if (what !== "job" || !DECISIONS.includes(verb)) return;
  const isTurn = ({ waiting, tools }: z.output<typeof shownSchema>): boolean =>
    (verb === "resolve" ? tools.some(({ state }) => state === "unknown") : waiting?.reason === "approval");
  await eventually(`it is time for job ${verb} ${job}`, async () => isTurn(await shown(job)) || undefined);
}

async function aether(words: readonly string[]): Promise<string> {
  await awaitTurn(words);
  const here = words.map((word, at) => (words[at - 1] === "refunds" && word.startsWith("{")
    ? JSON.stringify({ ...z.record(z.string(), z.unknown()).parse(JSON.parse(word)), payments: payments.url })
    : word));
  const command = fleet.run([...here, "--api", fleet.api("n1")], { directory: ROOT });
  const { code } = await command.waitForEnd(60_000);
  expect(code, `${words.join(" ")}: ${command.transcript()}`).toBe(0);
  return command.stdout.join("\n");
}

async function curl(words: readonly string[]): Promise<void> {
  const url = words.find((word) => word.startsWith(PAYMENTS)) ?? "";
  const valueOf = (flag: string): string | undefined =>
    (words.includes(flag) ? words[words.indexOf(flag) + 1] : undefined);
  const raw = valueOf("-d");
  const { status } = await ask(url.replace(PAYMENTS, payments.url), {
    method: valueOf("-X") ?? "GET", ...(raw === undefined ? {} : { raw }),
  });
  expect(status, words.join(" ")).toBe(200);
}

test("every command of its README does what the page says", { timeout: 300_000 }, async () => {
  const traces = new Map<string, string>();
  for (const { program, words } of shellLinesOf(await readFile(README, "utf8"))) {
    if (program === "curl") await curl(words);
    else {
      expect([program, words[0]]).toEqual(["npx", "aether"]);
      const printed = await aether(words.slice(1));
      if (words[2] === "trace") traces.set(words[3] ?? "", printed);
    }
  }
  for (const order of ["o-1", "o-2", "o-3", "o-4", "o-5"]) {
    expect(await shown(`refund-${order}`), order).toMatchObject({
      status: "completed", result: { kind: "completed", output: { refund: `re-${order}-1` } },
    });
  }
  expect(await shown("refund-o-6")).toMatchObject({
    status: "completed", result: { kind: "completed", output: { refused: "refused by anonymous" } },
  });
  expect(traces.get("refund-o-1")).toMatch(/llm\.reader#1[\s\S]*notices#1[\s\S]*refund#1/);
  expect(traces.get("refund-o-3")).toMatch(/refund#1 resolved by reconcile: done/);
  expect(traces.get("refund-o-4")).toMatch(/refund#1 resolved by reconcile: not-?\s?done/);
  const { refunds, answers, notices } = await payments.books();
  const asked = refunds.map(({ order, requests, refunds: paid }) => [order, requests, paid.length]);
  expect(asked.sort()).toEqual([["o-1", 1, 1], ["o-2", 1, 1], ["o-3", 1, 1], ["o-4", 2, 1], ["o-5", 1, 1]]);
  expect(Math.min(...Object.values(answers))).toBeGreaterThan(0);
  expect(notices.map(({ order }) => order).sort()).toEqual(["o-1", "o-2", "o-3", "o-4", "o-5"]);
});

// Slow: a tick comes once a minute. A schedule on real nodes whose leader is killed before the tick: it runs once, and
// the status of its blueprint says how it went.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually } from "../support/node-fleet.ts";
import { applySlices, createLabelledFleet, pushSlice, untilServed, type HandmadeSlice } from "./support/call-slices.ts";

const TICK_MS_MAX = 90_000;
const leaderOf = z.object({ leader: z.object({ node: z.string() }) });

test("a tick runs once, whoever leads when it comes, and its end is in the blueprint's status", async () => {
  const fleet = await createLabelledFleet();
  onTestFinished(() => fleet.close());
  const file = join(fleet.directory, "ticks");
  const books: HandmadeSlice = {
    artifact: "demo:books:1.0.0",
    head: 'import { appendFileSync } from "node:fs";',
    schedules: { minutely: { cron: "* * * * *", method: "close", timeZone: "Europe/Berlin" } },
    methods: {
      ready: { effect: "read", handler: "() => 1" },
      close: {
        effect: "write",
        handler: `(input, ctx) => { appendFileSync(${JSON.stringify(file)}, ctx.idempotencyKey + "\\n"); }`,
      },
    },
  };
  await pushSlice(fleet, books);
  await applySlices(fleet, { books: { artifact: "demo:books@^1.0.0", instances: 3 } });
  await untilServed(fleet, "books/ready");
  const { leader } = leaderOf.parse((await ask(`${fleet.api("n1")}/v1/cluster`)).body);
  await fleet.kill(leader.node);
  const other = fleet.names.find((name) => name !== leader.node) ?? "";
  const ticks = async (): Promise<readonly string[]> =>
    (await readFile(file, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
  await eventually("a tick has run", async () => (await ticks()).length > 0 || undefined, TICK_MS_MAX);
  const status = await eventually("its end is known", async () => {
    const text = (await fleet.command(other, "blueprint", "status", "calls")).stdout.join("\n");
    return text.includes(" done") ? text : undefined;
  });
  const [first = ""] = await ticks();
  expect(first).toMatch(/^schedule\/minutely\//);
  expect(status).toContain("books/minutely");
  expect(status).toContain(first.slice("schedule/minutely/".length));
  await fleet.start(leader.node);
  await untilServed(fleet, "books/ready");
  const found = await ticks();
  expect(new Set(found).size).toBe(found.length);
});

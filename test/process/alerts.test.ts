// Real nodes: one that is killed is told of, by every way out; so is what only the last one left can know.
import { createHmac } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";

const KEY = "a key of eighteen characters";
const listSchema = z.object({ alerts: z.array(z.object({ alert: z.string(), subject: z.string() })) });
const toldSchema = z.object({ id: z.string(), event: z.string(), alert: z.string(), subject: z.string() });
const TOLD_MS_MAX = 60_000;

async function firing(fleet: NodeFleet, node: string): Promise<readonly string[]> {
  const { body } = await ask(`${fleet.api(node)}/v1/alerts?state=firing`);
  return listSchema.parse(body).alerts.map(({ alert, subject }) => `${alert} ${subject}`);
}

async function say(fleet: NodeFleet, command: string): Promise<string> {
  const cli = fleet.run([command, "--api", fleet.api("n1")]);
  await cli.waitForEnd();
  return cli.stdout.join("\n");
}

test("a killed node and a lost quorum fire, on every way out, and are over when the nodes are back", async () => {
  const told: string[] = [];
  let failures = 1;
  const receiver = await openWebServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text)).on("end", () => {
      const [, seconds = "", hex] = /^t=(\d+),v1=(.*)$/.exec(String(request.headers["aether-signature"])) ?? [];
      const isOurs = hex === createHmac("sha256", KEY).update(`${seconds}.${body}`).digest("hex");
      response.statusCode = isOurs && failures-- <= 0 ? 204 : 500;
      response.end();
      const { id, event, alert, subject } = toldSchema.parse(JSON.parse(body));
      expect(request.headers["idempotency-key"]).toBe(id);
      if (response.statusCode === 204) told.push(`${event} ${alert} ${subject}`);
    });
  });
  onTestFinished(() => receiver.close());
  const fleet = await NodeFleet.open({
    config: {
      secrets: { "hook-key": { variable: "HOOK_KEY" } },
      alerts: {
        rules: { "node-missing": { forMs: 2_000 } },
        webhooks: [{ name: "desk", url: receiver.url, secret: "hook-key" }],
      },
    },
    launchOf: () => ({ variables: { HOOK_KEY: KEY } }),
  });
  await fleet.startAll();
  expect(await firing(fleet, "n1")).toEqual([]);
  await fleet.kill("n3");
  await eventually("n3 is told missing", async () =>
    (await firing(fleet, "n1")).includes("node-missing node/n3") || undefined, TOLD_MS_MAX);
  await eventually("the webhook is told", () =>
    Promise.resolve(told.includes("fired node-missing node/n3") || undefined), TOLD_MS_MAX);
  const shown = await say(fleet, "alerts");
  expect(shown).toContain("n3 is a member of the cluster and is not heard");
  expect(shown).toContain("What to do:");
  expect(await say(fleet, "top")).toContain("\nERROR node/n3: n3 is a member of the cluster and is not heard");
  expect(await say(fleet, "doctor")).toMatch(/PROBLEM +node-missing +node\/n3/);
  const metrics = await (await fetch(`${fleet.api("n1")}/metrics`)).text();
  expect(metrics).toMatch(/aether_alerts_firing\{alert="node-missing",severity="error"\} 1/);
  await fleet.kill("n2");
  await eventually("n1 misses a majority", async () =>
    (await firing(fleet, "n1")).includes("no-quorum node/n1") || undefined, TOLD_MS_MAX);
  await Promise.all([fleet.start("n2"), fleet.start("n3")]);
  await eventually("all is over", async () =>
    (await firing(fleet, "n1")).length === 0 || undefined, TOLD_MS_MAX);
});

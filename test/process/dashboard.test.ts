// Slow. The dashboard in a real browser, on a cluster of real nodes: what people see and do there.
import type { Browser, Locator, Page, Route } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { openBrowser, Visit, type Looks } from "../support/browser.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applySlices, pushSlice } from "./support/call-slices.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const HOSTILE = `</pre><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;

/** A node that dies is told of soon, since a test waits for it. */
const CONFIG = { apiKill: "allowed", alerts: { rules: { "node-missing": { forMs: 1_000 } } } };

let fleet: NodeFleet;
let browser: Browser;
let visit: Visit | undefined;

beforeAll(async () => {
  [browser, fleet] = await Promise.all([openBrowser(), NodeFleet.create({ config: CONFIG })]);
  await fleet.startAll();
  await applyAgents(fleet, "approving");
  await applyAgents(fleet, "agents");
});

afterEach(async () => {
  await visit?.end();
  visit = undefined;
});

afterAll(async () => {
  await browser?.close();
  await fleet?.close();
});

async function look(via: string, place: string, looks: Looks = {}): Promise<Visit> {
  visit = await Visit.begin(browser, looks);
  await visit.go(fleet.api(via), place);
  return visit;
}

/** Of the dialog that is open. */
function field(page: Page, label: string): Locator {
  return page.getByRole("dialog").getByLabel(label);
}

/** Asks and confirms, in the dialog that a button opens. */
async function confirm(page: Page, button: string, action: string): Promise<void> {
  await page.getByRole("button", { name: button, exact: true }).first().click();
  await page.getByRole("dialog").getByRole("button", { name: action, exact: true }).click();
}

async function startInBrowser(page: Page, agent: string, input: unknown): Promise<string> {
  await page.getByRole("button", { name: "Start a job" }).click();
  await field(page, "Agent").fill(agent);
  await field(page, "Input").fill(JSON.stringify(input));
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.waitForURL(/#\/jobs\/[^?]+$/);
  return decodeURIComponent(page.url().split("/").at(-1) ?? "");
}

async function sendSignal(page: Page, name: string, payload: unknown): Promise<void> {
  await page.getByRole("button", { name: "Signal", exact: true }).click();
  await field(page, "Name").fill(name);
  await field(page, "Payload").fill(JSON.stringify(payload));
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

const PAGES = [
  ["cluster", "Nodes"], ["slices", "approving"], ["slices/approving", "Log"], ["calls", "Calls a second"],
  ["jobs", "look-1"], ["jobs/look-1", "Timeline"], ["approvals", "Refund 1200 cents for good?"],
  ["store", "data/look"], ["store/key/data%2Flook", "Before"], ["events", "leader"],
  ["nowhere", "There is no such page"],
] as const;

describe("every page", () => {
  beforeAll(async () => {
    await startJob(fleet, "n1", { agent: "approving", input: { cents: 1_200, pays: true }, id: "look-1" });
    for (const value of [1, 2]) await ask(`${fleet.api("n1")}/v1/kv/data/look`, { method: "PUT", body: value });
  });

  test.each([
    ["light on a desk", { theme: "light", size: "desk" }],
    ["dark on a desk", { theme: "dark", size: "desk" }],
    ["light on a phone", { theme: "light", size: "phone" }],
    ["dark on a phone", { theme: "dark", size: "phone" }],
  ] as const)("shows what it is about, %s, and nothing goes wrong in it", async (_name, looks) => {
    const { page } = (visit = await Visit.begin(browser, looks));
    for (const [place, expected] of PAGES) {
      await page.goto("about:blank");
      await page.goto(`${fleet.api("n2")}/#/${place}`);
      await page.getByText(expected).first().waitFor();
      // Nothing is wider than the screen, which would move under the finger.
      const widths = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]");
      expect([place, z.tuple([z.number(), z.number()]).parse(widths)]).toEqual([place, [page.viewportSize()?.width,
        page.viewportSize()?.width]]);
      await visit.picture(`${place.replaceAll(/[/%]/g, "-")}-${looks.size}-${looks.theme}`);
    }
    expect(visit.troubles).toEqual([]);
  });

  test("is reached with the keyboard alone", async () => {
    const { page } = await look("n1", "jobs");
    await page.getByRole("link", { name: /look-1/ }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("look");
    await page.waitForURL(/text=look/);
    await page.keyboard.press("Escape");
    await page.getByRole("list", { name: "Jobs" }).getByRole("link").first().focus();
    await page.keyboard.press("End");
    await page.keyboard.press("Enter");
    await page.waitForURL(/#\/jobs\/look-1$/);
    await page.getByRole("button", { name: "Cancel", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect((await ask(`${fleet.api("n1")}/v1/jobs/look-1`)).body).toMatchObject({ status: "waiting" });
  });

  test("asks for the alerts once, for the menu and for the page of the cluster", async () => {
    visit = await Visit.begin(browser);
    const { page } = visit;
    const held: Route[] = [];
    await page.route("**/v1/alerts*", (route) => void held.push(route));
    const charts = page.waitForResponse("**/v1/metrics/history*");
    await visit.go(fleet.api("n1"), "cluster");
    // By then the menu and the page have been drawn, and everything on them was asked for.
    await charts;
    expect(held).toHaveLength(1);
    const judged = { by: "n1", ageMs: 0, isStale: false };
    const one = { id: "x", severity: "error", subject: "n9", sinceMs: Date.now(), text: "told once", action: "look" };
    await held[0]?.fulfill({ json: { alerts: [one], judged } });
    await page.getByRole("table", { name: "Alerts" }).getByText("told once").waitFor();
    await page.getByRole("link", { name: "Cluster 1 alert" }).waitFor();
  });

  test("keeps the theme that was chosen, on every node", async () => {
    const { page } = await look("n1", "cluster");
    await page.getByRole("button", { name: "Theme: dark" }).first().click();
    await visit?.go(fleet.api("n2"), "cluster");
    expect(await page.evaluate("document.documentElement.dataset.theme")).toBe("dark");
  });
});

test("what jobs and keys say is text, whatever it says", async () => {
  const attributes = { hostile: HOSTILE };
  await startJob(fleet, "n1", { agent: "waiting", input: { sleepMs: 1, note: HOSTILE }, id: "hostile", attributes });
  await ask(`${fleet.api("n1")}/v1/jobs/hostile/signals/go`, { method: "POST", body: { by: HOSTILE } });
  expect(await resultOf(fleet, "n1", "hostile")).toMatchObject({ kind: "completed", output: { by: HOSTILE } });
  const key = encodeURIComponent("data/<img src=x onerror=hacked=1>");
  await ask(`${fleet.api("n1")}/v1/kv/data/hostile`, { method: "PUT", body: { [HOSTILE]: HOSTILE } });
  await ask(`${fleet.api("n1")}/v1/kv/${key}`, { method: "PUT", body: HOSTILE });
  const { page, troubles } = await look("n1", "jobs");
  const places = ["jobs", "jobs/hostile", "store", "store/key/data%2Fhostile", `store/key/${key}`, `jobs/${key}`];
  for (const place of places) {
    await page.goto(`${fleet.api("n1")}/#/${place}`);
    await page.getByText(/img src=x/).first().waitFor();
  }
  expect(await page.evaluate("window.hacked")).toBeUndefined();
  expect(await page.locator("img[src=x]").count()).toBe(0);
  expect(troubles.filter((line) => !/404|400/.test(line))).toEqual([]);
});

test("an approval is given in the browser, and its job goes on", async () => {
  await startJob(fleet, "n1", { agent: "approving", input: { cents: 777 }, id: "asks" });
  const { page } = await look("n3", "approvals");
  const asked = page.getByRole("article").filter({ hasText: "Refund 777 cents?" });
  await asked.getByRole("button", { name: "Approve" }).click();
  await field(page, "A note for the job").fill('{"note": "fine"}');
  await page.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
  await page.getByText("Approved for asks").waitFor();
  await asked.waitFor({ state: "detached" });
  expect(await resultOf(fleet, "n1", "asks")).toMatchObject({ output: { approved: true, data: { note: "fine" } } });
});

test("a refusal shows its code, and that nothing was changed", async () => {
  const { page } = await look("n1", "jobs");
  await page.getByRole("button", { name: "Start a job" }).click();
  await field(page, "Agent").fill("nobody");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const alert = page.getByRole("dialog").getByRole("alert");
  await alert.waitFor();
  expect(await alert.innerText()).toMatch(/E_NOT_FOUND[\s\S]*Nothing was changed/);
});

test("a lost answer is an unknown outcome, and what is sent again is done once", async () => {
  const { page } = await look("n1", "jobs");
  // It arrives and is carried out; only its answer is lost.
  await page.route("**/v1/jobs", async (route) => {
    await route.fetch();
    await route.abort("connectionreset");
  }, { times: 1 });
  await page.getByRole("button", { name: "Start a job" }).click();
  await field(page, "Agent").fill("counting");
  await field(page, "Input").fill('{"steps": 2}');
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByText("Outcome unknown: it may have been done").waitFor();
  await visit?.picture("outcome-unknown");
  await page.getByRole("button", { name: "Send again" }).click();
  await page.waitForURL(/#\/jobs\/[^?]+$/);
  await page.getByText("Completed", { exact: true }).waitFor();
  const { body } = await ask(`${fleet.api("n1")}/v1/jobs?agent=counting`);
  expect(z.object({ jobs: z.array(z.unknown()) }).parse(body).jobs).toHaveLength(1);
});

test("keys come and go while they are looked at", async () => {
  const { page } = await look("n2", "store");
  await ask(`${fleet.api("n3")}/v1/kv/data/live`, { method: "PUT", body: "now" });
  await page.getByText("data/live").waitFor();
  await ask(`${fleet.api("n3")}/v1/kv/data/live`, { method: "DELETE" });
  await page.getByText("data/live").waitFor({ state: "detached" });
});

test("large values leave room for more than a few keys in the list, and are shown in part", async () => {
  const value = "x".repeat(500_000);
  for (let key = 0; key < 6; key++) {
    await ask(`${fleet.api("n1")}/v1/kv/data/large/${key}`, { method: "PUT", body: value });
  }
  const { page, troubles } = await look("n2", "store?prefix=data/large/");
  await page.getByText("6 keys").waitFor();
  await page.getByRole("link", { name: "data/large/5" }).click();
  await page.getByText("the first 20000 of 500002 characters").waitFor();
  expect(await page.getByRole("link", { name: "As JSON" }).getAttribute("href")).toBe("/v1/kv/data/large/5");
  expect(troubles).toEqual([]);
});

test("many instances are shares of a bar, found by the name of their slice, and heard in one log", async () => {
  const names = ["many", "few"];
  for (const name of names) {
    const methods = { say: { effect: "read", handler: "(text, ctx) => ctx.log.info(text)" } } as const;
    await pushSlice(fleet, { artifact: `demo:${name}:1.0.0`, methods, rest: "start: (ctx) => ctx.log.info('hello')," });
  }
  await applySlices(fleet, {
    many: { artifact: "demo:many:1.0.0", instances: 20 }, few: { artifact: "demo:few:1.0.0", instances: 3 },
  }, "counted");
  const { page, troubles } = await look("n2", "slices");
  await page.getByText("20 of 20").waitFor();
  const rowOf = (name: string): Locator => page.getByRole("row").filter({ hasText: `demo:${name}:` });
  expect(await rowOf("few").locator(".boxes .box").count()).toBe(3);
  expect(await rowOf("many").locator(".shares .box").count()).toBe(1);
  await page.keyboard.press("/");
  await page.keyboard.type("man");
  await rowOf("few").waitFor({ state: "detached" });
  await page.getByRole("link", { name: "many" }).click();
  const log = page.locator(".log");
  for (const node of fleet.names) await log.getByText(new RegExp(` ${node}/`)).first().waitFor();
  expect(await log.getByText("hello").count()).toBe(20);
  expect(troubles).toEqual([]);
});

test("a method that was called stands in the list of methods, also when it is called no more", async () => {
  const { page } = await look("n3", "calls");
  const method = page.getByRole("list", { name: "Methods" }).getByRole("link", { name: /^many\.say/ });
  await eventually("it is in the list", async () => {
    await ask(`${fleet.api("n1")}/v1/call/many/say`, { method: "POST", body: "x" });
    return await method.count() > 0 || undefined;
  });
  await method.getByText("—").first().waitFor();
  await visit?.picture("methods");
  const card = await page.locator("section", { has: method }).boundingBox();
  const row = await method.boundingBox();
  expect((row?.y ?? 0) + (row?.height ?? 0)).toBeLessThanOrEqual((card?.y ?? 0) + (card?.height ?? 0));
  await method.click();
  await page.getByRole("heading", { name: "many.say" }).waitFor();
});

/** From here on nodes die, in the order of the tests. */
describe("a node that is killed from its own page", () => {
  const ownerSchema = z.object({ owner: z.string() });

  test("leaves its job to others, and its page goes on with another node", async () => {
    const { page } = await look("n1", "jobs");
    const job = await startInBrowser(page, "telling", {});
    await sendSignal(page, "go", { by: "me" });
    const owner = await eventually("the job runs", async () => {
      const { body } = await ask(`${fleet.api("n1")}/v1/jobs/${job}`);
      return ownerSchema.safeParse(body).data?.owner;
    });
    await visit?.go(fleet.api(owner), "cluster");
    const { ended } = fleet.process(owner);
    await confirm(page, "Kill this node", `Kill ${owner}`);
    expect(await ended).toEqual({ code: null, signal: "SIGKILL" });
    await page.getByText(`${owner} does not answer`).waitFor();
    await visit?.picture("node-lost");
    await page.waitForURL((url) => url.origin !== fleet.api(owner));
    await page.getByText(/2 of 3/).first().waitFor();
    await fleet.start(owner);
    const next = fleet.names.find((name) => page.url().startsWith(fleet.api(name))) ?? "";
    await visit?.go(fleet.api(next), `jobs/${job}`);
    await page.locator("h1").getByText("waits: signal").waitFor();
    await sendSignal(page, "go", { by: "me" });
    await page.getByText("Completed", { exact: true }).waitFor();
    await visit?.picture("job-completed");
    expect(await resultOf(fleet, next, job)).toMatchObject({ kind: "completed" });
  });

  test("is an alert on the page of the cluster and in the menu of every page, until it is back", async () => {
    await fleet.kill("n3");
    const { page, troubles } = await look("n1", "cluster");
    const alert = page.getByRole("table", { name: "Alerts" }).getByRole("row", { name: /^error n3 is a member/ });
    await alert.getByText("Look at its machine and its log, and start it").waitFor();
    await visit?.picture("alert");
    await visit?.go(fleet.api("n1"), "store");
    const count = page.getByRole("link", { name: "Cluster 1 alert" });
    await count.waitFor();
    await fleet.start("n3");
    await count.waitFor({ state: "detached" });
    await visit?.go(fleet.api("n1"), "cluster");
    await page.getByText("No alert fires.").waitFor();
    expect(troubles).toEqual([]);
  });

  test("has no such button unless it was started with that permission", async () => {
    fleet.process("n3").signal("SIGTERM");
    await fleet.process("n3").waitForEnd();
    const plain = await fleet.launch("n3", { apiKill: "refused" });
    await plain.ready();
    const { page } = await look("n3", "cluster");
    await page.getByText("this page").waitFor();
    expect(await page.getByRole("button", { name: "Kill this node" }).count()).toBe(0);
  });

  test("leaves a page that says so when no quorum is left, and shows what its node knows", async () => {
    await fleet.kill("n2", "n3");
    const { page } = await look("n1", "cluster");
    await page.getByText("No quorum.").waitFor();
    await visit?.picture("no-quorum");
    const places = [
      ["slices", /of 20/], ["slices/many", /of 20/], ["jobs", "look-1"], ["jobs/look-1", "Timeline"],
      ["approvals", "Refund 1200 cents for good?"], ["store", "data/look"], ["store/key/data%2Flook", "Before"],
    ] as const;
    for (const [place, expected] of places) {
      await visit?.go(fleet.api("n1"), place);
      await page.getByText(expected).first().waitFor();
      expect(await page.locator(".failure").count()).toBe(0);
    }
    await visit?.go(fleet.api("n1"), "jobs");
    await page.getByRole("button", { name: "Start a job" }).click();
    await field(page, "Agent").fill("counting");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await page.getByRole("dialog").getByText("E_NO_QUORUM").waitFor();
  });
});

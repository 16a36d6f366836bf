// Slow. The dashboard without a mouse, on a cluster of real nodes: every action of every page is reached with Tab, one
// sees where the keyboard is, and what comes and goes in a page does not take it away.
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { openBrowser, Visit } from "../support/browser.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { applySlices, pushSlice, untilServed } from "./support/call-slices.ts";
import { applyAgents, startJob } from "./support/fleet-jobs.ts";

const STOPS_MAX = 120;

/** What has the keyboard; numbered, so that the same element is known again. */
const FOCUSED = `(() => {
  const element = document.activeElement;
  if (element === null || element === document.body) return null;
  const wasMarked = "walked" in element.dataset;
  element.dataset.walked ??= String(document.querySelectorAll("[data-walked]").length);
  const { top, bottom, left, right } = element.getBoundingClientRect();
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return {
    name: element.tagName + " " + (element.getAttribute("aria-label") ?? element.textContent).slice(0, 40),
    mark: element.dataset.walked,
    wasMarked,
    isSeen: bottom > 0 && right > 0 && top < innerHeight && left < innerWidth,
    isOutlined: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
  };
})()`;
const focusedSchema = z.object({
  name: z.string(), mark: z.string(), wasMarked: z.boolean(), isSeen: z.boolean(), isOutlined: z.boolean(),
}).nullable();

/** Of the rows of a list one is a stop of Tab: the arrow keys go to the others. */
const NOT_REACHED = `[...document.querySelectorAll("a[href], button, input, select, textarea")]
  .filter((element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility() &&
    !("walked" in element.dataset))
  .map((element) => element.tagName + " " + element.textContent.slice(0, 40))`;

let fleet: NodeFleet;
let browser: Browser;
let visit: Visit | undefined;

beforeAll(async () => {
  [browser, fleet] = await Promise.all([openBrowser(), NodeFleet.create({ config: { apiKill: "allowed" } })]);
  await fleet.startAll();
  await applyAgents(fleet, "approving");
  await applyAgents(fleet, "agents");
  const method = { effect: "read", handler: "() => 1" } as const;
  await pushSlice(fleet, { artifact: "demo:talk:1.0.0", methods: { say: method, tell: method } });
  await applySlices(fleet, { talk: { artifact: "demo:talk:1.0.0", instances: 2 } });
  await untilServed(fleet, "talk/say");
  await startJob(fleet, "n1", { agent: "approving", input: { cents: 1_200, pays: true }, id: "asks-1" });
  await startJob(fleet, "n1", { agent: "approving", input: { cents: 55 }, id: "asks-2" });
  for (const value of [1, 2]) await ask(`${fleet.api("n1")}/v1/kv/data/look`, { method: "PUT", body: value });
});

afterEach(async () => {
  await visit?.end();
  visit = undefined;
});

afterAll(async () => {
  await browser?.close();
  await fleet?.close();
});

async function look(place: string): Promise<Page> {
  visit = await Visit.begin(browser);
  await visit.go(fleet.api("n1"), place);
  return visit.page;
}

async function focused(page: Page): Promise<z.output<typeof focusedSchema>> {
  return focusedSchema.parse(await page.evaluate(FOCUSED));
}

/** Until the node was asked again for what every page shows. */
async function untilUpdated(page: Page): Promise<void> {
  for (let update = 0; update < 2; update++) await page.waitForResponse("**/v1/cluster");
}

test.each([
  ["cluster", "Drain"], ["slices", "talk"], ["slices/talk", "Log"], ["calls", "Calls a second"],
  ["calls/talk/say", "p99"], ["jobs", "asks-1"], ["jobs/asks-1", "Timeline"], ["approvals", "Refund 55 cents?"],
  ["store", "data/look"], ["store/key/data%2Flook", "Before"], ["events", "leader"],
])("every action of the page %s is reached, seen, and keeps the keyboard over updates", async (place, expected) => {
  const page = await look(place);
  await page.getByText(expected).first().waitFor();
  for (let stop = 1; ; stop++) {
    expect(stop).toBeLessThan(STOPS_MAX);
    await page.keyboard.press("Tab");
    const at = await focused(page);
    // Around the page and back, over whatever the browser has around it.
    if (at === null || at.wasMarked) break;
    expect(at).toMatchObject({ isSeen: true, isOutlined: true });
  }
  expect(await page.evaluate(NOT_REACHED)).toEqual([]);
  await page.locator(":is(a[href], button, input):visible").last().focus();
  const before = await focused(page);
  await untilUpdated(page);
  expect((await focused(page))?.mark).toBe(before?.mark);
});

describe("what has the keyboard keeps it", () => {
  test("as a row of a list, while others come above it and until it is gone itself", async () => {
    for (const at of [2, 4, 6]) await ask(`${fleet.api("n1")}/v1/kv/data/row/${at}`, { method: "PUT", body: at });
    const page = await look("store?prefix=data/row/");
    await page.getByRole("link", { name: "data/row/4" }).focus();
    await ask(`${fleet.api("n1")}/v1/kv/data/row/1`, { method: "PUT", body: 1 });
    await page.getByRole("link", { name: "data/row/1" }).waitFor();
    const at = (row: string): Promise<void> => page.locator(":focus", { hasText: row }).waitFor();
    await at("data/row/4");
    await page.keyboard.press("ArrowDown");
    await at("data/row/6");
    await page.keyboard.press("ArrowUp");
    await at("data/row/4");
    await ask(`${fleet.api("n1")}/v1/kv/data/row/4`, { method: "DELETE" });
    await page.getByRole("link", { name: "data/row/4" }).waitFor({ state: "detached" });
    await at("data/row/6");
  });

  test("and what is looked at in a list stays where it is, while rows come and go above it", async () => {
    const keys = Array.from({ length: 80 }, (_, at) => `data/long/${String(at).padStart(2, "0")}`);
    const then = keys.map((key) => ({ op: "put", key, value: 1 }));
    await ask(`${fleet.api("n1")}/v1/kv/txn`, { method: "POST", body: { compare: [], then, else: [] } });
    const page = await look("store?prefix=data/long/");
    await page.getByText("80 keys").waitFor();
    await page.getByRole("list", { name: "Keys" }).evaluate((list) => list.scrollTo(0, 1_500));
    const seen = page.getByRole("link", { name: keys[40] ?? "" });
    const before = await seen.boundingBox();
    for (const [method, count] of [["PUT", 81], ["DELETE", 80]] as const) {
      await ask(`${fleet.api("n1")}/v1/kv/data/long/!first`, { method, body: 1 });
      await page.getByText(`${count} keys`).waitFor();
      expect(await seen.boundingBox()).toEqual(before);
    }
  });

  test("as a method, which moves among the others with how often it is called", async () => {
    const call = (method: string): Promise<unknown> =>
      ask(`${fleet.api("n2")}/v1/call/talk/${method}`, { method: "POST", body: null });
    const page = await look("calls");
    const row = page.getByRole("list", { name: "Methods" }).getByRole("link");
    const isFirst = async (method: string): Promise<true | undefined> =>
      (await row.first().textContent())?.startsWith(`talk.${method}`) || undefined;
    const untilFirst = (method: string): Promise<true> => eventually(`${method} is the first`, async () => {
      await Promise.all([call(method), call(method), call(method)]);
      return await isFirst(method);
    });
    await Promise.all([call("say"), call("tell")]);
    await untilFirst("tell");
    await row.filter({ hasText: "talk.tell" }).focus();
    for (const first of ["say", "tell"]) {
      await untilFirst(first);
      expect((await focused(page))?.name).toMatch(/^A talk\.tell/);
    }
    // Nobody calls any more: they stand by their names.
    await eventually("say is the first", () => isFirst("say"));
    await page.keyboard.press("ArrowUp");
    await page.locator(":focus", { hasText: "talk.say" }).waitFor();
  });

  test("as a button that opened a question, after it was closed", async () => {
    const page = await look("cluster");
    await page.getByRole("button", { name: "Drain" }).nth(1).focus();
    for (const close of ["Escape", "Enter", "Escape", "Enter", "Enter"]) {
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").getByRole("button", { name: "Close" }).focus();
      await page.keyboard.press(close);
      await page.getByRole("dialog").waitFor({ state: "detached" });
      expect((await focused(page))?.name).toBe("BUTTON Drain");
    }
  });

  test("or gives it to the next one, when a decision was made and is no more to be made", async () => {
    const page = await look("approvals");
    const first = page.getByRole("article").filter({ hasText: "Refund 1200 cents for good?" });
    await first.getByRole("button", { name: "Refuse" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").getByRole("button", { name: "Refuse" }).focus();
    await page.keyboard.press("Enter");
    await first.waitFor({ state: "detached" });
    await page.locator("article:focus-within", { hasText: "Refund 55 cents?" }).waitFor();
  });

  test("or gives it to the page that was opened", async () => {
    const page = await look("jobs");
    await page.getByRole("list", { name: "Jobs" }).getByRole("link").first().focus();
    await page.keyboard.press("Enter");
    await page.getByText("Timeline").waitFor();
    expect((await focused(page))?.name).toMatch(/^MAIN/);
  });
});

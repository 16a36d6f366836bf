// Messages that were put aside, as people look at them and decide about them on the command line.
import { afterEach, beforeEach, expect, test } from "vitest";
import { formatKey, type KeyText } from "../../../src/kvstore/core/key.ts";
import { partitionOf } from "../../../src/cluster/topics/core/message-share.ts";
import { runCli } from "../../../src/cli/program.ts";
import { openApi, type ApiFixture } from "../api/api-fixture.ts";

const ERROR = { code: "E_HANDLER", message: "no stock" };
let api: ApiFixture;
let out: string[];
let err: string[];

beforeEach(async () => {
  api = await openApi();
  await put(formatKey({ kind: "topic", topic: "sold" }), {});
  await put(formatKey({ kind: "topic-group", topic: "sold", group: "books" }), { blueprint: "shop", method: "hear" });
  for (const [group, id, n] of [["books", "n1.1.1", 1], ["books", "n1.1.2", 2], ["gone", "n1.1.3", 3]] as const) {
    const value = { key: "pen", payload: { n }, bytes: 9, attempts: 10, error: ERROR };
    await put(formatKey({ kind: "topic-dead", topic: "sold", group, id }), value);
  }
});

afterEach(() => api.close());

async function put(key: KeyText, value: unknown): Promise<void> {
  await api.local.kv.transact({ compare: [], then: [{ kind: "put", key, value }], else: [] });
}

async function aether(...args: readonly string[]): Promise<number> {
  [out, err] = [[], []];
  return await runCli([...args, "--api", api.url], {
    env: {}, cwd: "/", print: (text) => out.push(text), report: (text) => err.push(text),
    readInput: () => Promise.resolve(""), nowMs: () => 0, wallMs: () => 0, sleep: () => Promise.resolve(),
    onInterrupt: () => () => undefined, exitNow: () => undefined,
  });
}

async function keysOf(what: "dead" | "waiting"): Promise<readonly string[]> {
  return (await api.local.kv.list({ prefix: `topics/sold/${what}/` })).entries.map(({ key }) => key);
}

async function untilListed(): Promise<void> {
  await expect.poll(async () => (await aether("topic", "list"), out.join()), { timeout: 5_000 }).toContain("gone");
}

test("topics are listed with what waits and what was put aside", async () => {
  await untilListed();
  expect(out[0]?.split("\n").map((line) => line.split(/\s+/))).toEqual([
    ["TOPIC", "SLICE", "METHOD", "WAITING", "DEAD"],
    ["sold", "books", "hear", "0", "2"],
    ["sold", "gone", "(none)", "0", "1"],
  ]);
  expect(await aether("topic", "list", "--json")).toBe(0);
  const groups = [{ group: "books", dead: 2 }, { group: "gone", method: null }];
  expect(JSON.parse(out[0] ?? "")).toMatchObject({ topics: [{ topic: "sold", groups }] });
});

test("what was put aside is shown with its error, by slice and one by one", async () => {
  expect(await aether("topic", "dead", "sold", "--group", "books")).toBe(0);
  expect(out[0]).toMatch(/books +n1\.1\.1 +E_HANDLER: no stock +\{"n":1\}/);
  expect(out[0]).not.toContain("gone");
  expect(await aether("topic", "dead", "sold", "--id", "n1.1.3", "--json")).toBe(0);
  expect(JSON.parse(out[0] ?? "")).toEqual({
    messages: [{ group: "gone", id: "n1.1.3", key: "pen", payload: { n: 3 }, attempts: 10, error: ERROR }],
  });
  expect(await aether("topic", "dead", "bought")).toBe(0);
  expect(out[0]).toBe("no message of bought was put aside");
});

test("what is tried anew waits again under an id of its own, with all of its attempts", async () => {
  expect(await aether("topic", "retry", "sold", "--group", "books")).toBe(0);
  expect(out[0]).toBe("2 messages of sold are handed out again");
  expect(await keysOf("dead")).toEqual(["topics/sold/dead/gone/n1.1.3"]);
  const { entries } = await api.local.kv.list({ prefix: "topics/sold/waiting/" });
  const partition = String(partitionOf("pen")).padStart(2, "0");
  expect(entries.map(({ key, value }) => [key.replace(/\/0*(\d+)\/(?=new)/, "/$1/"), value])).toEqual([1, 2].map((n) => [
    `topics/sold/waiting/books/${Number(partition)}/new${n}`, { key: "pen", payload: { n }, bytes: 9, attempts: 0 },
  ]));
});

test("what nobody handles any more is not tried anew, and says what to do", async () => {
  expect(await aether("topic", "retry", "sold", "--group", "gone")).toBe(1);
  expect(err[0]).toBe("E_NOT_FOUND: gone does not handle the topic sold any more: drop its messages instead");
  expect(await keysOf("waiting")).toEqual([]);
  expect(await keysOf("dead")).toHaveLength(3);
});

test("messages are dropped one by one, or all of them when that is said", async () => {
  expect(await aether("topic", "drop", "sold")).toBe(2);
  expect(await keysOf("dead")).toHaveLength(3);
  expect(await aether("topic", "drop", "sold", "--id", "n1.1.1")).toBe(0);
  expect(await keysOf("dead")).toEqual(["topics/sold/dead/books/n1.1.2", "topics/sold/dead/gone/n1.1.3"]);
  expect(await aether("topic", "drop", "sold", "--all")).toBe(0);
  expect(out[0]).toBe("2 messages of sold are deleted");
  expect(await keysOf("dead")).toEqual([]);
});

test("a name that can be no topic is refused", async () => {
  expect(await aether("topic", "retry", "So ld")).toBe(1);
  expect(err[0]).toMatch(/^E_INVALID: "So ld" cannot be the name of a topic/);
});

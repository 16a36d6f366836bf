// Slow. Many callers of one idempotency key through all nodes, and the node that runs its handler is killed. The
// handler leaves a line in a file each time that it runs.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import {
  applySlices, createLabelledFleet, pushSlice, untilServed, type HandmadeSlice,
} from "./support/call-slices.ts";

const CALLERS = 64;
const DEADLINE_MS = 15_000;

const SHOP: HandmadeSlice = {
  artifact: "demo:shop:1.0.0",
  head: 'import { appendFileSync } from "node:fs"; let runs = 0;',
  methods: {
    ready: { effect: "read", handler: "() => 1" },
    place: {
      effect: "write",
      handler: `async ({ file, ms }) => {
        appendFileSync(file, process.pid + "\\n");
        await sleep(ms);
        return [process.pid, ++runs];
      }`,
    },
  },
};

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await createLabelledFleet();
  await pushSlice(fleet, SHOP);
  await applySlices(fleet, { shop: { artifact: "demo:shop@^1.0.0", instances: 2, labels: { side: "host" } } });
  await untilServed(fleet, "shop/ready");
});

afterAll(() => fleet.close());

interface Reply {
  readonly status: number;
  readonly isReplayed: boolean;
  readonly body: unknown;
}

async function place(node: string, key: string, ms: number): Promise<Reply> {
  const { status, headers, body } = await ask(`${fleet.api(node)}/v1/call/shop/place`, {
    method: "POST",
    body: { file: fileOf(key), ms },
    headers: { "idempotency-key": key, "x-deadline-ms": String(DEADLINE_MS) },
  });
  return { status, isReplayed: headers.get("aether-replayed") === "true", body };
}

function fileOf(key: string): string {
  return join(fleet.directory, `runs-${key}`);
}

/** The process of each run of the handler. */
async function runsOf(key: string): Promise<readonly number[]> {
  const text = await readFile(fileOf(key), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "").map(Number);
}

test("64 callers of one key get one answer, of one run", async () => {
  const nodes = Array.from({ length: CALLERS }, (_, index) => fleet.names[index % 3] ?? "n1");
  const replies = await Promise.all(nodes.map((node) => place(node, "many", 300)));
  expect(new Set(replies.map(({ status, body }) => JSON.stringify([status, body]))).size).toBe(1);
  expect(replies[0]?.status).toBe(200);
  expect(replies.filter(({ isReplayed }) => isReplayed)).toHaveLength(CALLERS - 1);
  expect(await runsOf("many")).toHaveLength(1);
  const input = JSON.stringify({ file: fileOf("many"), ms: 300 });
  await fleet.command("n3", "call", "shop", "place", input, "--key", "many");
  expect(await runsOf("many")).toHaveLength(1);
});

test("kill -9 of the node that runs it: it does not run again, and all learn that nobody knows", async () => {
  const done = await place("n3", "done", 0);
  const calls = Array.from({ length: CALLERS }, () => place("n3", "killed", 60_000));
  const [pid] = await eventually("the handler runs", async () => {
    const found = await runsOf("killed");
    return found.length > 0 ? found : undefined;
  });
  const victim = fleet.names.find((name) => fleet.process(name).pid === pid) ?? "";
  await fleet.kill(victim);
  for (const { status, body } of await Promise.all(calls)) {
    expect({ status, body }).toMatchObject({
      status: 504, body: { error: { code: "E_TIMEOUT", outcome: "unknown", details: { isFinal: true } } },
    });
  }
  expect(await runsOf("killed")).toEqual([pid]);
  // What was answered before is still the answer, whichever node had given it.
  expect(await place("n3", "done", 0)).toEqual({ ...done, isReplayed: true });
  expect(await runsOf("done")).toHaveLength(1);
});

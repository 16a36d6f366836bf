// Slow. Messages of a topic on real nodes, of which the one that hands them out is killed.
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { parseNodeId } from "../../src/base/ids.ts";
import { ownerOf, partitionOf } from "../../src/cluster/topics/core/message-share.ts";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import { applySlices, callOver, createLabelledFleet, pushSlice, untilServed } from "./support/call-slices.ts";

const MESSAGES = 60;
const rowsSchema = z.object({ entries: z.array(z.object({ key: z.string() })) });

let fleet: NodeFleet;
let directory: string;
let journal: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "aether-topics-"));
  journal = join(directory, "heard");
  fleet = await createLabelledFleet();
  await pushSlice(fleet, {
    artifact: "test:mouth:1.0.0",
    methods: {
      look: { effect: "read", handler: "() => ({})" },
      say: {
        effect: "write",
        handler: `async (said, ctx) => {
          await ctx.publish({ name: "said", payload: any, key: ({ who }) => who }, said);
          return {};
        }`,
      },
    },
  });
  await pushSlice(fleet, {
    artifact: "test:ear:1.0.0",
    head: `import { appendFileSync } from "node:fs";`,
    on: { said: "hear" },
    methods: {
      look: { effect: "read", handler: "() => ({})" },
      hear: {
        effect: "write",
        handler: `async ({ who, n }) => {
          appendFileSync(${JSON.stringify(journal)}, who + " " + n + "\\n");
          await sleep(20);
          return {};
        }`,
      },
    },
  });
  await applySlices(fleet, {
    mouth: { artifact: "test:mouth@1", labels: { name: "n3" } },
    ear: { artifact: "test:ear@1", labels: { name: "n2" } },
  });
  for (const slice of ["mouth", "ear"]) await untilServed(fleet, `${slice}/look`);
});

afterAll(async () => {
  await fleet.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Someone whose messages this node hands out. */
function handedOutBy(node: string, prefix = "who"): string {
  const nodes = fleet.names.map(parseNodeId);
  for (let index = 0; ; index += 1) {
    const who = `${prefix}${index}`;
    if (ownerOf(`said/ear/${partitionOf(who)}`, nodes) === node) return who;
  }
}

async function heard(who: string): Promise<readonly number[]> {
  // ignored: before the first message there is no file.
  const lines = (await readFile(journal, "utf8").catch(() => "")).split("\n");
  return lines.filter((line) => line.startsWith(`${who} `)).map((line) => Number(line.split(" ")[1]));
}

async function waiting(): Promise<number> {
  const { body } = await ask(`${fleet.api("n3")}/v1/kv?prefix=topics/said/waiting/`);
  return rowsSchema.parse(body).entries.length;
}

test("the node that hands out messages is killed: none is lost, those with one key keep their order", async () => {
  const who = handedOutBy("n1");
  const others = handedOutBy("n3");
  for (let n = 0; n < MESSAGES; n += 1) {
    for (const one of [who, others]) {
      expect(await callOver(fleet, "n3", "mouth/say", { who: one, n })).toMatchObject({ status: 200 });
    }
  }
  await eventually("some are heard", async () => (await heard(who)).length > 5 || undefined);
  await fleet.kill("n1");
  expect((await heard(who)).length).toBeLessThan(MESSAGES);
  for (const one of [who, others]) {
    const all = await eventually(`everything of ${one} is heard`, async () => {
      const list = await heard(one);
      return new Set(list).size === MESSAGES ? list : undefined;
    }, 60_000);
    expect([...new Set(all)]).toEqual(Array.from({ length: MESSAGES }, (_, n) => n));
  }
  await eventually("nothing waits any more", async () => (await waiting()) === 0 || undefined);
  const count = (await heard(who)).length + (await heard(others)).length;
  process.stdout.write(`topic: ${2 * MESSAGES} messages, heard ${count} times\n`);
});

test("a node that ends in order and comes back loses none either", async () => {
  await fleet.start("n1");
  const who = handedOutBy("n1", "again");
  const saying = (async () => {
    for (let n = 0; n < MESSAGES; n += 1) await callOver(fleet, "n3", "mouth/say", { who, n });
  })();
  await eventually("some are heard", async () => (await heard(who)).length > 5 || undefined);
  await fleet.process("n1").stop("SIGTERM");
  await saying;
  await eventually("everything is heard", async () => new Set(await heard(who)).size === MESSAGES || undefined);
  expect([...new Set(await heard(who))]).toEqual(Array.from({ length: MESSAGES }, (_, n) => n));
});

test("a handler dies with its node: another one gets the message, and those behind it wait for that", async () => {
  await fleet.start("n1");
  const begun = join(directory, "begun");
  await pushSlice(fleet, {
    artifact: "test:crier:1.0.0",
    methods: {
      look: { effect: "read", handler: "() => ({})" },
      cry: {
        effect: "write",
        handler: `async (cried, ctx) => {
          await ctx.publish({ name: "cried", payload: any, key: () => "one" }, cried);
          return {};
        }`,
      },
    },
  });
  await pushSlice(fleet, {
    artifact: "test:guard:1.0.0",
    head: `import { appendFileSync, existsSync } from "node:fs";`,
    on: { cried: "hear" },
    methods: {
      look: { effect: "read", handler: "() => ({})" },
      hear: {
        effect: "write",
        timeoutMs: 60_000,
        handler: `async ({ n }, ctx) => {
          const isFirst = !existsSync(${JSON.stringify(begun)});
          appendFileSync(${JSON.stringify(begun)}, process.pid + " " + n + "\\n");
          if (isFirst) await sleep(60_000, ctx.signal);
          return {};
        }`,
      },
    },
  });
  await applySlices(fleet, { crier: { artifact: "test:crier@1" }, guard: { artifact: "test:guard@1", instances: 3 } },
    "watch");
  for (const slice of ["crier", "guard"]) await untilServed(fleet, `${slice}/look`);
  const runs = async (): Promise<readonly string[]> =>
    // ignored: before the first run there is no file.
    (await readFile(begun, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
  for (const n of [0, 1]) {
    const via = n === 0 ? "n1" : nodeOf((await runs())[0]) === "n2" ? "n3" : "n2";
    expect(await callOver(fleet, via, "crier/cry", { n })).toMatchObject({ status: 200 });
    await eventually("the first one is heard", async () => (await runs()).length === 1 || undefined);
  }
  const killedMs = performance.now();
  await fleet.kill(nodeOf((await runs())[0]));
  await eventually("both are heard", async () => (await runs()).length === 3 || undefined);
  process.stdout.write(`topic: handed out again ${Math.round(performance.now() - killedMs)} ms after its node died\n`);
  expect((await runs()).map((line) => line.split(" ")[1])).toEqual(["0", "0", "1"]);
});

function nodeOf(run = ""): string {
  return fleet.names.find((name) => run.startsWith(`${fleet.process(name).pid} `)) ?? "none";
}

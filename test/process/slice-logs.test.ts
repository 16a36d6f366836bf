// Slow. What slices say and how many there are, by the command line, on three nodes.
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet, type AetherProcess } from "../support/node-fleet.ts";
import { applySlices, callOver, pushSlice, untilServed, type HandmadeSlice } from "./support/call-slices.ts";

const TALK: HandmadeSlice = {
  artifact: "test:talk:1.0.0",
  methods: {
    say: { effect: "read", handler: "(text, ctx) => { ctx.log.info(text, { size: 1 }); console.log(text); }" },
    exit: { effect: "write", handler: "() => process.exit(3)" },
  },
  rest: "start: (ctx) => ctx.log.info('started'),",
};
const lineSchema = z.object({ node: z.string(), instance: z.string(), level: z.string(), text: z.string() });
type Line = z.output<typeof lineSchema>;

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await pushSlice(fleet, TALK);
  await applySlices(fleet, { talk: { artifact: TALK.artifact } });
});

afterAll(() => fleet.close());

test("a slice is scaled up until each node has an instance, whose lines are read from one place", async () => {
  const scaled = await fleet.command("n2", "slice", "scale", "talk", "3", "--wait");
  expect(scaled.stdout).toEqual([
    "talk is to have 3 instances (minAvailable 0): blueprint calls is at revision 2",
  ]);
  await untilServed(fleet, "talk/say", "ready");
  for (const name of fleet.names) await say(name, `hello from ${name}`);
  await eventually("the lines of all nodes", async () => {
    const all = await logs("n3");
    const started = all.filter(({ text }) => text === "started").map(({ node }) => node).sort();
    expect(started).toEqual(fleet.names);
    // Each says it twice, by ctx.log and by console.log, on whichever node it was called.
    const said = all.filter(({ text }) => text.startsWith("hello")).map(({ text }) => text).sort();
    expect(said).toEqual(fleet.names.flatMap((name) => [`hello from ${name}`, `hello from ${name}`]));
    return true;
  });
});

test("one node tells over HTTP what was said on all of them, and goes without one that is lost", async () => {
  const ofAll = z.object({ lines: z.array(lineSchema), silent: z.array(z.string()) });
  const read = async () => ofAll.parse((await ask(`${fleet.api("n1")}/v1/slices/talk/log?nodes=all&limit=1000`)).body);
  const { lines, silent } = await read();
  expect(silent).toEqual([]);
  expect(lines.filter(({ text }) => text === "started").map(({ node }) => node).sort()).toEqual(fleet.names);
  await fleet.kill("n2");
  const rest = await read();
  expect(rest.silent).toEqual(["n2"]);
  expect(new Set(rest.lines.map(({ node }) => node))).toEqual(new Set(["n1", "n3"]));
  await fleet.start("n2");
  await untilServed(fleet, "talk/say", "ready");
});

test("a node that hangs keeps back no line of the others, and is named, over HTTP and by the command", async () => {
  fleet.process("n2").signal("SIGSTOP");
  try {
    const shown = await fleet.command("n1", "slice", "logs", "talk", "--json");
    expect(shown.complaints.some((line) => line.startsWith("n2 does not say what runs there"))).toBe(true);
    expect(new Set(linesOf(shown).map(({ node }) => node))).toEqual(new Set(["n1", "n3"]));
    const { body } = await ask(`${fleet.api("n1")}/v1/slices/talk/log?nodes=all`);
    expect(body).toMatchObject({ silent: ["n2"] });
  } finally {
    fleet.process("n2").signal("SIGCONT");
  }
  await untilServed(fleet, "talk/say", "ready");
});

test("commands that name several nodes go on with the next one when the first hangs, and say so", async () => {
  fleet.process("n1").signal("SIGSTOP");
  try {
    const api = fleet.names.map((name) => fleet.api(name)).join(",");
    const silent = `${fleet.api("n1")} does not answer`;
    const shown = fleet.run(["slice", "logs", "talk", "--json", "--api", api]);
    expect(await shown.waitForEnd(), shown.transcript()).toEqual({ code: 0, signal: null });
    expect(linesOf(shown).map(({ node }) => node)).toContain("n3");
    expect(shown.complaints[0]).toBe(silent);
    const written = fleet.run(["kv", "put", "data/beside", "1"], { variables: { AETHER_API: api } });
    expect(await written.waitForEnd(), written.transcript()).toEqual({ code: 0, signal: null });
    expect(written.complaints).toEqual([silent]);
    const alone = fleet.run(["slice", "logs", "talk", "--api", fleet.api("n1")]);
    expect((await alone.waitForEnd()).code).toBe(1);
    expect(alone.complaints.join()).toMatch(/^E_TIMEOUT: .*name several with --api URL,URL$/);
  } finally {
    fleet.process("n1").signal("SIGCONT");
  }
  await untilServed(fleet, "talk/say", "ready");
});

test("lines are followed over the death of a node and its return", async () => {
  const follower = fleet.run(["slice", "logs", "talk", "--follow", "--json", "--api", fleet.api("n1")]);
  await say("n1", "before");
  await eventually("a line", () => textsOf(follower).includes("before") || undefined);
  await fleet.kill("n3");
  await eventually("n3 is missed", () =>
    follower.complaints.some((line) => line.startsWith("n3 does not say what runs there")) || undefined);
  await say("n2", "without n3");
  await eventually("a line of n2", () => textsOf(follower).includes("without n3") || undefined);
  await fleet.start("n3");
  await untilServed(fleet, "talk/say", "ready");
  await eventually("a line of n3's new life", async () => {
    await say("n3", "back");
    return linesOf(follower).some(({ node, text }) => node === "n3" && text === "back") || undefined;
  });
  expect(textsOf(follower).filter((text) => text === "before")).toHaveLength(2);
  expect(await follower.stop("SIGINT"), follower.transcript()).toEqual({ code: 0, signal: null });
});

test("why an instance ended is among its lines, after the fact", async () => {
  await callOver(fleet, "n1", "talk/exit");
  await eventually("its last line", async () => {
    const ends = (await logs("n2")).filter(({ level }) => level === "error").map(({ text }) => text);
    return ends.some((text) => /this instance has ended: .*exit code 3/.test(text)) || undefined;
  });
});

test("scaled down to nothing, a slice is silent and its lines are still there", async () => {
  await fleet.command("n1", "slice", "scale", "talk", "0");
  await eventually("no instance is left", async () => {
    const status = await fleet.command("n1", "blueprint", "status", "calls", "--json");
    return /"instances":\[\]/.test(status.stdout.join("")) || undefined;
  });
  expect((await logs("n1")).some(({ text }) => text === "without n3")).toBe(true);
  const applied = await fleet.command("n1", "slice", "scale", "talk", "1", "--wait");
  expect(applied.stdout.join("")).toContain("talk is to have 1 instances");
});

async function say(node: string, text: string): Promise<void> {
  expect(await callOver(fleet, node, "talk/say", text)).toMatchObject({ status: 200 });
}

async function logs(node: string): Promise<readonly Line[]> {
  return linesOf(await fleet.command(node, "slice", "logs", "talk", "--lines", "1000", "--json"));
}

function linesOf(command: AetherProcess): readonly Line[] {
  return command.stdout.map((line) => lineSchema.parse(JSON.parse(line)));
}

function textsOf(command: AetherProcess): readonly string[] {
  return linesOf(command).map(({ text }) => text);
}

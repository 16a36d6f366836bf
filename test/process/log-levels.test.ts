// Slow. Which lines the logs of real nodes have, changed while they run; and that a line says which trace it is of.
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, eventually, type NodeFleet } from "../support/node-fleet.ts";
import { applySlices, createLabelledFleet, pushSlice, untilServed } from "./support/call-slices.ts";

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await createLabelledFleet();
  await pushSlice(fleet, {
    artifact: "demo:talker:1.0.0",
    methods: { say: { effect: "read", handler: '(input, ctx) => { ctx.log.debug("said"); return 1; }' } },
  });
  await applySlices(fleet, { talker: { artifact: "demo:talker@^1.0.0", labels: { name: "n2" } } });
  await untilServed(fleet, "talker/say");
});

afterAll(() => fleet.close());

test("an area is made to say more on one node, and what it says belongs to the trace of the call", async () => {
  expect(fleet.process("n2").logged("slice.log")).toEqual([]);
  const changed = await fleet.command("n3", "logs", "level", "slice", "debug", "--node", "n2", "--json");
  expect(JSON.parse(changed.stdout.join(""))).toEqual([{ node: "n2", everywhere: "info", areas: { slice: "debug" } }]);
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const headers = { traceparent: `00-${trace}-00f067aa0ba902b7-01` };
  await ask(`${fleet.api("n1")}/v1/call/talker/say`, { method: "POST", body: {}, headers });
  const line = await eventually("the line is written", () => fleet.process("n2").logged("slice.log")[0]);
  expect(line).toMatchObject({ level: "debug", node: "n2", slice: "talker", text: "said", trace });
  const all = await fleet.command("n1", "logs", "level", "--json");
  const answers = JSON.parse(all.stdout.join("")) as readonly { readonly node: string; readonly areas: object }[];
  expect(answers.map(({ node, areas }) => [node, areas])).toEqual([["n1", {}], ["n2", { slice: "debug" }], ["n3", {}]]);
  await fleet.command("n1", "logs", "level", "slice", "reset");
  const { body } = await ask(`${fleet.api("n2")}/v1/logs/levels`);
  expect(body).toEqual({ node: "n2", everywhere: "info", areas: {} });
});

test("what is no level, area or node is refused, and a node that is down does not hide the others", async () => {
  const codes = async (...args: readonly string[]): Promise<readonly [number | null, string]> => {
    const command = fleet.run(["--api", fleet.api("n1"), "logs", "level", ...args]);
    return [(await command.waitForEnd()).code, command.transcript()];
  };
  expect(await codes("jobs", "loud")).toEqual([2, expect.stringContaining('"loud" is no level')]);
  expect(await codes("jbos", "debug")).toEqual([1, expect.stringContaining('"jbos" is no area of the log')]);
  expect(await codes("jobs", "debug", "--node", "n9")).toEqual([1, expect.stringContaining("E_NOT_FOUND")]);
  const bad = await ask(`${fleet.api("n1")}/v1/logs/levels`, { method: "PUT", body: {} });
  expect(bad.status).toBe(400);
  await fleet.kill("n3");
  const [code, said] = await codes("all", "warn");
  expect([code, said]).toEqual([1, expect.stringMatching(/n1 +warn[^]*n2 +warn[^]*n3 +E_UNAVAILABLE/)]);
});

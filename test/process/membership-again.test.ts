// Changes of the members whose answer was lost are asked for again, at real nodes: the same directory is meant, whoever
// has come under its name meanwhile; and of two who ask at once both hear that it is done.
import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import { type Answer, ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { directoryOf, seen } from "./support/members.ts";

function change(fleet: NodeFleet, through: string, what: string, directory?: string): Promise<Answer> {
  const url = `${fleet.api(through)}/v1/cluster/members/${what}`;
  return ask(url, { method: "POST", body: { directory } });
}

/** Sends it and is gone before there is an answer: what became of it is not known to its sender. */
async function changeUnheard(fleet: NodeFleet, through: string, what: string, directory: string): Promise<void> {
  const url = `${fleet.api(through)}/v1/cluster/members/${what}`;
  const answer = await ask(url, { method: "POST", body: { directory }, headers: { "X-Deadline-Ms": "1" } });
  expect(answer.status === 200 || answer.status === 504).toBe(true);
}

async function joinEmpty(fleet: NodeFleet, name: string): Promise<void> {
  await rm(fleet.dataDir(name), { recursive: true, force: true });
  await (await fleet.launch(name, { voters: {}, join: [fleet.peer("n1"), fleet.peer("n3")] })).ready();
}

test("a replacement asked for again leaves the node alone that has taken the place", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const old = await directoryOf(fleet, "n2");
  await fleet.kill("n2");
  await eventually("n1 misses n2", async () => (await seen(fleet, "n2"))?.status === "suspected" || undefined);
  await changeUnheard(fleet, "n1", "n2/replace", old);
  expect((await change(fleet, "n3", "n2/replace", old)).status).toBe(200);
  await joinEmpty(fleet, "n2");
  await eventually("the new n2 has the place", async () => (await seen(fleet, "n2"))?.isLost === false || undefined);
  await fleet.kill("n2");
  await eventually("n1 misses the new n2", async () => (await seen(fleet, "n2"))?.status === "suspected" || undefined);
  for (const through of ["n1", "n3"]) expect((await change(fleet, through, "n2/replace", old)).status).toBe(200);
  const now = await directoryOf(fleet, "n2");
  const unnamed = await change(fleet, "n1", "n2/replace");
  expect([unnamed.status, JSON.stringify(unnamed.body)]).toEqual([400, expect.stringContaining(now)]);
  const wrong = await change(fleet, "n1", "n2/replace", "0000000000000000");
  expect([wrong.status, JSON.stringify(wrong.body)]).toEqual([409, expect.stringContaining(now)]);
  expect(await seen(fleet, "n2")).toMatchObject({ role: "voter", isLost: false, directory: now });
  await fleet.start("n2");
}, 120_000);

test("a removal asked for again, or at two nodes at once, leaves a new node of the name alone", async () => {
  const fleet = await NodeFleet.open({ names: ["n1", "n2", "n3", "n4"], firstVoters: ["n1", "n2", "n3"] });
  await fleet.start("n1", "n2", "n3", "n4");
  await fleet.command("n1", "node", "promote", "n4");
  const old = await directoryOf(fleet, "n4");
  await changeUnheard(fleet, "n2", "n4/remove", old);
  const both = await Promise.all(["n1", "n3"].map((through) => change(fleet, through, "n4/remove", old)));
  expect(both.map(({ status }) => status)).toEqual([200, 200]);
  expect(await fleet.process("n4").waitForEnd()).toEqual({ code: 1, signal: null });
  await joinEmpty(fleet, "n4");
  await fleet.command("n1", "node", "remove", "n4", "--directory", old);
  expect(await seen(fleet, "n4")).toMatchObject({ role: "member" });
  const now = await directoryOf(fleet, "n4");
  await eventually("n4 has everything", async () => {
    return (await change(fleet, "n1", "n4/promote", now)).status === 200 || undefined;
  });
  expect((await change(fleet, "n2", "n4/promote", now)).status).toBe(200);
}, 120_000);

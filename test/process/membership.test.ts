// Real nodes become members, vote, lose their disks and are removed, while writers go on and nothing is lost.
import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { directoryOf } from "./support/members.ts";
import { WriteLoad } from "./support/write-load.ts";

interface Status {
  readonly voters: readonly string[];
  readonly quorum: { readonly need: number; readonly have: number; readonly canLose: number };
  readonly pending: unknown;
  readonly nodes: readonly { readonly id: string; readonly role: string; readonly status: string }[];
}

async function statusOf(fleet: NodeFleet, name: string): Promise<Status> {
  return (await ask(`${fleet.api(name)}/v1/cluster`)).body as Status;
}

async function expectVoters(fleet: NodeFleet, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await eventually(`${name} knows the voters ${names.join(", ")}`, async () => {
      const { voters } = await statusOf(fleet, name);
      expect([...voters].sort()).toEqual([...names].sort());
      return true;
    });
  }
}

/** Starts nodes that are no first voters, and makes them voters one after the other. */
async function joinAndPromote(fleet: NodeFleet, through: string, ...names: readonly string[]): Promise<void> {
  for (const name of names) {
    await fleet.start(name);
    await fleet.command(through, "node", "promote", name);
  }
}

async function expectEndedAsRemoved(fleet: NodeFleet, name: string): Promise<void> {
  expect(await fleet.process(name).waitForEnd()).toEqual({ code: 1, signal: null });
  expect(fleet.process(name).complaints).toEqual([expect.stringMatching(/^aether: E_REMOVED: .*empty data directory/)]);
}

test("one voter becomes three, five and three others, and no acknowledged write is lost", async () => {
  const fleet = await NodeFleet.open({ names: ["n1", "n2", "n3", "n4", "n5"], firstVoters: ["n1"] });
  await fleet.start("n1");
  const load = new WriteLoad(fleet, ["n1", "n3", "n4"]);
  load.start();
  await load.progress();
  await joinAndPromote(fleet, "n1", "n2", "n3");
  await expectVoters(fleet, "n1", "n2", "n3");
  await load.progress();
  await joinAndPromote(fleet, "n2", "n4", "n5");
  await expectVoters(fleet, "n1", "n2", "n3", "n4", "n5");
  expect((await statusOf(fleet, "n5")).quorum).toEqual({ need: 3, have: 5, canLose: 2 });
  await load.progress();
  for (const name of ["n1", "n5"]) {
    await fleet.command("n3", "node", "remove", name);
    await expectEndedAsRemoved(fleet, name);
    await load.progress();
  }
  await expectVoters(fleet, "n2", "n3", "n4");
  await fleet.kill("n2");
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode(["n3", "n4"]);
}, 180_000);

test("a voter whose disk is gone is replaced by an empty one of its name, which then counts", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const load = new WriteLoad(fleet, ["n1", "n3"]);
  load.start();
  await load.progress();
  await fleet.kill("n2");
  await rm(fleet.dataDir("n2"), { recursive: true });
  const lost = await fleet.launch("n2");
  expect(await lost.waitForEnd()).toMatchObject({ code: 1 });
  const said = /^aether: E_DATA_LOST: .*`aether node replace n2 --directory ([a-z0-9]{16})`/.exec(lost.complaints.join());
  await fleet.command("n1", "node", "replace", "n2", "--directory", said?.[1] ?? "");
  const join = [fleet.peer("n1"), fleet.peer("n3")];
  await rm(fleet.dataDir("n2"), { recursive: true });
  await (await fleet.launch("n2", { voters: {}, join })).ready();
  for (const name of fleet.names) {
    await eventually(`${name} sees n2 take its place`, async () => {
      const { nodes, pending } = await statusOf(fleet, name);
      expect(nodes.find(({ id }) => id === "n2")).toMatchObject({ role: "voter", isLost: false });
      expect(pending).toBeNull();
      return true;
    });
  }
  // Without n1 the new n2 is needed for every quorum.
  await fleet.kill("n1");
  await load.progress();
  await load.stop();
  await fleet.start("n1");
  await load.expectOnEveryNode();
}, 120_000);

test("a removed node does not come back with its data, and does with an empty directory", async () => {
  const fleet = await NodeFleet.open({ names: ["n1", "n2", "n3", "n4"], firstVoters: ["n1", "n2", "n3"] });
  await fleet.start("n1", "n2", "n3");
  await joinAndPromote(fleet, "n1", "n4");
  // It is away when it is removed, so it has to be told later.
  await fleet.kill("n4");
  await fleet.command("n2", "node", "remove", "n4");
  for (let start = 0; start < 2; start += 1) {
    await fleet.launch("n4");
    await expectEndedAsRemoved(fleet, "n4");
  }
  await rm(fleet.dataDir("n4"), { recursive: true });
  await joinAndPromote(fleet, "n1", "n4");
  await expectVoters(fleet, "n1", "n2", "n3", "n4");
}, 120_000);

test("a change that cannot be, or would cost the quorum, is refused with the reason", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const change = async (node: string, kind: string, directory?: string) => {
    return ask(`${fleet.api("n1")}/v1/cluster/members/${node}/${kind}`, { method: "POST", body: { directory } });
  };
  const refusalOf = async (node: string, kind: string, directory?: string): Promise<string> => {
    const { body } = await change(node, kind, directory);
    const { error } = body as { readonly error: { readonly code: string; readonly message: string } };
    return `${error.code}: ${error.message}`;
  };
  expect(await refusalOf("n9", "promote")).toMatch(/^E_NOT_FOUND: the cluster has no member n9/);
  const directory = await directoryOf(fleet, "n2");
  expect(await refusalOf("n2", "replace")).toContain(`E_INVALID: say which data directory of n2 is lost`);
  expect(await refusalOf("n2", "replace", directory)).toMatch(/^E_CONFLICT: n2 is there with its data directory/);
  await fleet.kill("n3");
  await eventually("n1 misses n3", async () => (await statusOf(fleet, "n1")).quorum.have === 2 || undefined);
  expect(await refusalOf("n2", "remove")).toMatch(/^E_NO_QUORUM: of the voters n1, n3 only 1 would be there/);
  await fleet.start("n3");
  await eventually("n1 sees n3", async () => (await statusOf(fleet, "n1")).quorum.have === 3 || undefined);
  const [first, second] = await Promise.all([change("n2", "remove"), change("n3", "remove")]);
  expect([first.status, second.status].sort()).toEqual([200, 409]);
  const { stdout } = await fleet.command("n1", "cluster", "status");
  expect(stdout.join("\n")).toMatch(/quorum 2 of 2, can lose 0[^]*warning: of two voters none may fail/);
  await fleet.command("n1", "node", "remove", first.status === 200 ? "n3" : "n2");
  expect(await refusalOf("n1", "remove")).toMatch(/^E_INVALID: n1 is the last voter/);
  await expectVoters(fleet, "n1");
}, 60_000);

// One node after the other gets a build that works with the next version, while writers go on; there is no way back.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CLUSTER_VERSION_MAX } from "../../src/consensus/core/version.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { directoryOf } from "./support/members.ts";
import { makeNextBuild } from "./support/next-build.ts";
import { WriteLoad } from "./support/write-load.ts";

const NEXT = CLUSTER_VERSION_MAX + 1;
/** An upgrade may take hours before somebody is told of it. */
const CONFIG = { alerts: { rules: { "version-differs": { forMs: 0 } } } };

async function versionSeenBy(fleet: NodeFleet, name: string): Promise<unknown> {
  const { body } = await ask(`${fleet.api(name)}/v1/cluster`);
  return (body as { readonly version: unknown }).version;
}

/** The nodes of which it is told that they are of an older build than others. */
async function oldBuildsSeenBy(fleet: NodeFleet, name: string): Promise<readonly string[]> {
  const { body } = await ask(`${fleet.api(name)}/v1/alerts?state=firing`);
  const { alerts } = body as { readonly alerts: readonly { readonly alert: string; readonly subject: string }[] };
  return alerts.filter(({ alert }) => alert === "version-differs").map(({ subject }) => subject);
}

async function upgrade(fleet: NodeFleet, name: string, cli: string): Promise<void> {
  expect(await fleet.process(name).stop("SIGTERM")).toEqual({ code: 0, signal: null });
  await (await fleet.launch(name, {}, { cli })).ready();
  await expectSeenByAll(fleet);
}

/** At once: the next node is stopped when this one is ready. */
async function expectSeenByAll(fleet: NodeFleet): Promise<void> {
  for (const name of fleet.names) {
    const { body } = await ask(`${fleet.api(name)}/v1/cluster`);
    expect(body).toMatchObject({ quorum: { need: 2, have: 3 } });
  }
}

test("the version rises when the last node has the next build, and then an old build is refused", async () => {
  const fleet = await NodeFleet.open({ config: CONFIG });
  const next = { cli: await makeNextBuild(join(fleet.directory, "next-build")) };
  await fleet.startAll();
  const load = new WriteLoad(fleet);
  load.start();
  await load.progress();
  for (const name of ["n1", "n2"]) {
    await upgrade(fleet, name, next.cli);
    await load.progress();
    expect(await versionSeenBy(fleet, name)).toBe(CLUSTER_VERSION_MAX);
  }
  const { stdout } = await fleet.command("n1", "cluster", "status");
  expect(stdout.join("\n")).toMatch(new RegExp(`at version ${CLUSTER_VERSION_MAX},`));
  expect(stdout.join("\n")).toMatch(new RegExp(`n1 .* up to ${NEXT} [^]*n3 .* up to ${CLUSTER_VERSION_MAX} `));
  await eventually("n3 to be told of", async () => (await oldBuildsSeenBy(fleet, "n1"))[0] === "node/n3" || undefined);
  await upgrade(fleet, "n3", next.cli);
  await eventually("nobody to be told of", async () => (await oldBuildsSeenBy(fleet, "n1")).length === 0 || undefined);
  for (const name of fleet.names) {
    await eventually(`${name} is at version ${NEXT}`, async () => {
      return (await versionSeenBy(fleet, name)) === NEXT || undefined;
    });
  }
  await load.progress();
  await fleet.process("n2").stop("SIGTERM");
  const old = await fleet.launch("n2");
  expect(await old.waitForEnd()).toEqual({ code: 1, signal: null });
  expect(old.complaints).toEqual([expect.stringMatching(/^aether: E_VERSION: .* at version \d+: start this node with/)]);
  await (await fleet.launch("n2", {}, next)).ready();
  await expectSeenByAll(fleet);
  // Nor does an old build come in as a new node.
  await fleet.kill("n3");
  await fleet.command("n1", "node", "replace", "n3", "--directory", await directoryOf(fleet, "n3"));
  await rm(fleet.dataDir("n3"), { recursive: true });
  const join3 = { voters: {}, join: [fleet.peer("n1"), fleet.peer("n2")] };
  const joining = await fleet.launch("n3", join3);
  expect(await joining.waitForEnd()).toEqual({ code: 1, signal: null });
  expect(joining.complaints).toEqual([expect.stringMatching(/^aether: E_VERSION: .*build of n3/)]);
  await (await fleet.launch("n3", join3, next)).ready();
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
}, 180_000);

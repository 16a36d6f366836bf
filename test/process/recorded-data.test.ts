// Data directories that earlier builds have written: this one starts from them, has everything, and goes on.
// How they are made is in test/fixtures/record.ts; a recording stays for as long as its builds can be upgraded from.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import {
  answerOf,
  listEntries,
  putAs,
  RECORDED_CLUSTER,
  RECORDED_NODES,
  recordedSchema,
  recordingDirectory,
  showLease,
  unpackRecording,
} from "../fixtures/recorded.ts";
import { eventually, NodeFleet } from "../support/node-fleet.ts";

const statusSchema = z.object({
  voters: z.array(z.string()),
  quorum: z.object({ need: z.number(), have: z.number() }),
});

/** The nodes were elsewhere when they were recorded: each is told where the others are now. */
async function startFrom(recording: string): Promise<NodeFleet> {
  const fleet = await NodeFleet.open({ names: RECORDED_NODES, cluster: RECORDED_CLUSTER });
  await unpackRecording(recording, fleet.directory);
  const join = RECORDED_NODES.map((name) => fleet.peer(name));
  const started = await Promise.all(RECORDED_NODES.map((name) => fleet.launch(name, { voters: {}, join })));
  await Promise.all(started.map((node) => node.ready()));
  return fleet;
}

test.each(["data-v1"])("three nodes start from %s and have what it had", async (recording) => {
  const wanted = recordedSchema.parse(
    JSON.parse(await readFile(join(recordingDirectory(recording), "expected.json"), "utf8")),
  );
  expect(Object.keys(wanted.entries).length).toBeGreaterThan(200);
  const fleet = await startFrom(recording);
  for (const api of fleet.apis) {
    // n2 was stopped before the last writes; a node that is ready has caught up.
    expect(await listEntries(api, wanted.revision)).toEqual(wanted.entries);
    expect(await showLease(api, wanted.lease.lease)).toEqual(wanted.lease);
    expect(await showLease(api, wanted.session.lease)).toEqual(wanted.session);
    // A node is ready as soon as it sees a quorum; the third voter may say hello a moment later.
    const status = await eventually("all three voters are seen", async () => {
      const told = statusSchema.parse(await answerOf(`${api}/v1/cluster`));
      return told.quorum.have === 3 ? told : undefined;
    });
    expect([...status.voters].sort()).toEqual(RECORDED_NODES);
    expect(status.quorum.need).toBe(2);
  }
  // A write that was answered then is answered the same, and changes nothing.
  const { number, key, revision } = wanted.request;
  expect(await putAs(fleet.api("n3"), wanted.session.lease, number, key)).toBe(revision);
  let latest = wanted.revision;
  for (const name of RECORDED_NODES) {
    const written = await putAs(fleet.api(name), wanted.session.lease, number + fleet.names.indexOf(name) + 1, key);
    expect(written).toBeGreaterThan(latest);
    latest = written;
  }
  await eventually("a slice of then is called", async () => {
    await answerOf(`${fleet.api("n4")}/v1/call/probe/where`, { method: "POST", body: {} });
    return true;
  });
  // What was recorded and what was written since is there after a crash of all, too.
  await fleet.kill(...RECORDED_NODES);
  const again = RECORDED_NODES.map((name) => fleet.launch(name, { voters: {}, join: [fleet.peer("n2")] }));
  await Promise.all((await Promise.all(again)).map((node) => node.ready()));
  expect(await listEntries(fleet.api("n3"), wanted.revision)).toEqual(wanted.entries);
  expect(await putAs(fleet.api("n2"), wanted.session.lease, number + RECORDED_NODES.length, key)).toBe(latest);
}, 120_000);

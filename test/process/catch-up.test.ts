// A node that was away for longer than the others keep their log comes back through a snapshot, under writes, also when
// it or the node that sends is killed on the way.
import { expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { WriteLoad } from "./support/write-load.ts";

/** Enough for the transfer to take a while: some tens of chunks. */
const VALUES = 400;
const VALUE = "x".repeat(60_000);
const LOG_SLOTS = 64;

interface CatchUp {
  readonly kind: "snapshot" | "log";
  readonly bytesReceived: number;
}

test("a node that was away catches up by a snapshot, killed twice on the way, while writes go on", async () => {
  const fleet = await NodeFleet.open({ config: { consensus: { logSlotsKept: LOG_SLOTS } } });
  await fleet.startAll();
  const load = new WriteLoad(fleet, ["n1", "n2"]);
  load.start();
  await load.progress();
  await fleet.kill("n3");
  await fill(fleet);
  await load.progress(5 * LOG_SLOTS);
  await checkpointed(fleet);

  await fleet.launch("n3");
  await receiving(fleet);
  await fleet.kill("n3");
  await load.progress();

  await fleet.launch("n3");
  await receiving(fleet);
  // Whichever of both sends: without it n3 counts for the quorum, or waits until it is back.
  await fleet.kill("n1");
  await fleet.start("n1");
  await fleet.kill("n2");
  await fleet.start("n2");

  await ready(fleet, "n3");
  await load.progress();
  await load.stop();
  await load.expectOnEveryNode();
  await expectValues(fleet, "n3");
}, 180_000);

/** Large values beside those of the load. */
async function fill(fleet: NodeFleet): Promise<void> {
  const client = connect({ nodes: [fleet.api("n1")], discovery: "off" });
  for (let at = 0; at < VALUES; at += 20) {
    const keys = Array.from({ length: 20 }, (_, index) => keyOf(at + index));
    await Promise.all(keys.map((key) => client.kv.put(key, `${key}${VALUE}`, { timeoutMs: 30_000 })));
  }
  client.close();
}

function keyOf(at: number): string {
  return `data/large/${String(at).padStart(4, "0")}`;
}

async function expectValues(fleet: NodeFleet, name: string): Promise<void> {
  for (let at = 0; at < VALUES; at += 7) {
    const { body } = await ask(`${fleet.api(name)}/v1/kv/${keyOf(at)}?consistency=local`);
    expect(body).toMatchObject({ value: `${keyOf(at)}${VALUE}` });
  }
}

/** The others have cut their logs behind a checkpoint: n3 cannot come back without a snapshot. */
async function checkpointed(fleet: NodeFleet): Promise<void> {
  for (const name of ["n1", "n2"]) {
    await eventually(`${name} has cut its log`, async () => {
      const { body } = await ask(`${fleet.api(name)}/metrics`);
      const found = /^aether_consensus_log_start_slots\S* (\d+)$/m.exec(String(body));
      return Number(found?.[1]) > LOG_SLOTS || undefined;
    });
  }
}

async function receiving(fleet: NodeFleet): Promise<void> {
  await eventually("n3 has received a part of a snapshot", async () => {
    const { body } = await ask(`${fleet.api("n3")}/v1/cluster`);
    const { nodes } = body as { readonly nodes: readonly { readonly id: string; readonly catchUp: CatchUp | null }[] };
    const catchUp = nodes.find((node) => node.id === "n3")?.catchUp;
    return (catchUp?.kind === "snapshot" && catchUp.bytesReceived > 0) || undefined;
  }, 60_000);
}

async function ready(fleet: NodeFleet, name: string): Promise<void> {
  await eventually(`${name} is ready`, async () => {
    return (await ask(`${fleet.api(name)}/readyz`)).status === 200 || undefined;
  }, 60_000);
}

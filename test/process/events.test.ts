// Real nodes: what happens is told, over kill -9 of the node that tells it.
import { expect, onTestFinished, test } from "vitest";
import { HOUR_MS } from "../../src/base/units.ts";
import { connect, type Client } from "../../src/client/connect.ts";
import { AetherProcess, ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { sampleArchive } from "../unit/slices-build/sample-artifacts.ts";

const SOURCE = `const parse = (data) => ({ success: true, data });
const any = { safeParse: parse, safeParseAsync: async (data) => parse(data) };
const contract = { name: "echo", methods: { ping: { input: any, output: any, effect: "write", timeoutMs: 1000 } } };
export default { contract, methods: { ping: (input) => { if (input.leave) process.exit(3); return input; } } };`;

interface Told {
  readonly id: string;
  readonly kind: string;
  readonly subject: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What the store says, of what a node holds. */
async function heldBy(fleet: NodeFleet, node: string): Promise<readonly Told[]> {
  const { body } = await ask(`${fleet.api(node)}/v1/events?follow=false&limit=1000`);
  return (body as { readonly events: readonly Told[] }).events.filter(isOfStore);
}

function isOfStore({ id }: Told): boolean {
  return /^\d/.test(id);
}

/** All that the client is told of the last hour and from now on, until it leaves. */
function followBy(client: Client): { readonly told: readonly Told[]; leave(): Promise<unknown> } {
  const told: Told[] = [];
  const leaving = new AbortController();
  const follow = async (): Promise<void> => {
    const since = new Date(Date.now() - HOUR_MS);
    for await (const event of client.events({ since }, { signal: leaving.signal })) told.push(event);
  };
  const ended = follow().catch((reason: unknown) => reason);
  return {
    told,
    leave: () => {
      leaving.abort("enough");
      return ended;
    },
  };
}

test("a follower sees a slice crash and its own node die, with nothing missing and nothing twice", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  const raw = new Uint8Array(sampleArchive({
    artifact: "demo:echo:1.0.0", bundle: new TextEncoder().encode(SOURCE),
  }));
  await ask(`${fleet.api("n2")}/v1/artifacts/demo:echo:1.0.0`, { method: "PUT", raw });
  const follower = new AetherProcess(["events", "--follow", "--since", "1h", "--json", "--api", fleet.api("n1")]);
  onTestFinished(async () => void await follower.stop("SIGKILL"));
  const client = connect({ nodes: [fleet.api("n1")] });
  onTestFinished(() => client.close());
  const program = followBy(client);
  const seen = (): readonly Told[] => follower.stdout.map((line) => JSON.parse(line) as Told);
  const see = async (kind: string, subject: string): Promise<Told> => {
    return await eventually(`${kind} of ${subject}`, () => Promise.resolve(
      seen().find((event) => event.kind === kind && event.subject === subject),
    ));
  };
  const body = { slices: { echo: { artifact: "demo:echo:1.0.0", instances: 1 } } };
  await ask(`${fleet.api("n2")}/v1/blueprints/shop`, { method: "PUT", body });
  await see("blueprint.applied", "blueprint/shop");
  const ping = (input: unknown) => ask(`${fleet.api("n2")}/v1/call/echo/ping`, { method: "POST", body: input });
  await eventually("echo to serve", async () => (await ping({})).status === 200 || undefined);
  await ping({ leave: true });
  expect((await see("instance.failed", "slice/echo")).fields).toMatchObject({ slice: "echo", wasServing: true });

  await fleet.kill("n1");
  await see("node.gone", "node/n1");
  await fleet.start("n1");
  await eventually("n1 to be on duty again", () => Promise.resolve(
    seen().filter(({ kind, subject }) => kind === "node.on-duty" && subject === "node/n1")[1],
  ));

  const ofStore = seen().filter(isOfStore);
  const ids = ofStore.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const held = await heldBy(fleet, "n2");
  const from = held.findIndex(({ id }) => id === ids[0]);
  const to = held.findIndex(({ id }) => id === ids.at(-1));
  expect(ids).toEqual(held.slice(from, to + 1).map(({ id }) => id));
  // A program that asks for one event after the other is told the same.
  await eventually("the program to be told as much", () => {
    return Promise.resolve(program.told.some(({ id }) => id === ids.at(-1)) || undefined);
  });
  expect(program.told.filter(isOfStore).map(({ id }) => id).slice(0, ids.length)).toEqual(ids);
  expect(await program.leave()).toBe("enough");
  // The node that came back has read the same.
  const last = ids.at(-1);
  await eventually("n1 to have read it too", async () => {
    return (await heldBy(fleet, "n1")).some(({ id }) => id === last) || undefined;
  });
  const own = (await heldBy(fleet, "n1")).map(({ id }) => id);
  expect(own.slice(own.indexOf(ids[0] ?? ""), own.indexOf(last ?? "") + 1)).toEqual(ids);
  expect(follower.complaints.join("\n")).toContain("going on elsewhere");
  expect(await follower.stop("SIGINT")).toEqual({ code: 0, signal: null });
});

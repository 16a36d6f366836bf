// Connections where a process may have few file descriptors: they leave enough of them for the node's own files.
import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { ask, eventually, type LaunchOptions, NodeFleet } from "../support/node-fleet.ts";

const DESCRIPTORS = 300;
/** So many connections that were closed at once: no descriptor is left. */
const REFUSED = 20;
const LAUNCH: LaunchOptions = { launcher: ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$@"`, "sh"] };

/** Two files of the journal and more. */
const VALUES = 100;
const VALUE = "x".repeat(400_000);

test("connections of clients and of peers leave a node the descriptors that its journal needs", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"], launchOf: () => LAUNCH });
  await fleet.startAll();
  // What was connected before is served all the time.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  await write(fleet, agent, "before");
  const floods = [await openUntilRefused(fleet.api("n1")), await openUntilRefused(fleet.peer("n1"))];
  onTestFinished(() => floods.flat().forEach((socket) => void socket.destroy()));

  for (let at = 0; at < VALUES; at++) await write(fleet, agent, `${at}`);
  expect(fleet.process("n1").isRunning, fleet.process("n1").transcript()).toBe(true);
  expect(fleet.process("n1").logged("api.too_many_connections")).toEqual([
    expect.objectContaining({ connectionsMax: DESCRIPTORS / 2 }),
  ]);

  for (const socket of floods.flat()) socket.destroy();
  await eventually("it serves new connections", async () => {
    const { body } = await ask(`${fleet.api("n1")}/v1/kv/data/before`);
    expect(body).toMatchObject({ value: VALUE });
    return true;
  });
});

/** Fails unless it is acknowledged. */
async function write(fleet: NodeFleet, agent: Agent, name: string): Promise<void> {
  const sent = request(`${fleet.api("n1")}/v1/kv/data/${name}`, { method: "PUT", agent });
  sent.end(JSON.stringify(VALUE));
  const [response] = await once(sent, "response");
  response.resume();
  await once(response, "end");
  expect(response.statusCode).toBe(200);
}

async function openUntilRefused(url: string): Promise<readonly Socket[]> {
  const sockets: Socket[] = [];
  let refused = 0;
  while (refused < REFUSED) {
    expect(sockets.length, "connections until none is taken any more").toBeLessThan(4 * DESCRIPTORS);
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    // ignored: its end is what is waited for
    socket.on("error", () => undefined);
    socket.once("close", () => (refused += 1));
    sockets.push(socket);
    await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => undefined); // ignored: see above
  }
  return sockets;
}

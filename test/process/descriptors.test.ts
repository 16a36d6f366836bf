// File descriptors that run out under connections, where a process may have few: the node lives on, and nothing that it
// could not open is taken for damage.
import { once } from "node:events";
import { Agent, get } from "node:http";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { ask, eventually, type LaunchOptions, NodeFleet } from "../support/node-fleet.ts";

const DESCRIPTORS = 300;
/** So many connections that were closed at once: no descriptor is left. */
const REFUSED = 20;
const LAUNCH: LaunchOptions = { launcher: ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$@"`, "sh"] };

test("a node whose file descriptors run out under connections lives on, and serves when they end", async () => {
  const fleet = await NodeFleet.open({ names: ["n1"], launchOf: () => LAUNCH });
  await fleet.startAll();
  expect(await ask(`${fleet.api("n1")}/v1/kv/data/before`, { method: "PUT", body: 1 })).toMatchObject({ status: 200 });
  // What was connected before is served all the time.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const before = await reports(fleet, agent);
  const flood = await openUntilRefused(fleet.api("n1"));
  onTestFinished(() => flood.forEach((socket) => void socket.destroy()));

  await eventually("it has looked at itself meanwhile", async () => {
    return (await reports(fleet, agent)) > before + 3 || undefined;
  });
  expect(fleet.process("n1").isRunning, fleet.process("n1").transcript()).toBe(true);

  for (const socket of flood) socket.destroy();
  await eventually("it serves new connections", async () => {
    const { body } = await ask(`${fleet.api("n1")}/v1/kv/data/before`);
    expect(body).toMatchObject({ value: 1 });
    return true;
  });
});

/** How many reports of itself the node has counted. */
async function reports(fleet: NodeFleet, agent: Agent): Promise<number> {
  const [response] = await once(get(`${fleet.api("n1")}/v1/metrics`, { agent }), "response");
  let text = "";
  for await (const piece of response.setEncoding("utf8")) text += piece;
  return JSON.parse(text).snapshot?.seq ?? 0;
}

async function openUntilRefused(api: string): Promise<readonly Socket[]> {
  const sockets: Socket[] = [];
  let refused = 0;
  while (refused < REFUSED) {
    expect(sockets.length, "connections until none is taken any more").toBeLessThan(4 * DESCRIPTORS);
    const socket = connect(Number(new URL(api).port), "127.0.0.1");
    // ignored: its end is what is waited for
    socket.on("error", () => undefined);
    socket.once("close", () => (refused += 1));
    sockets.push(socket);
    await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => undefined); // ignored: see above
  }
  return sockets;
}

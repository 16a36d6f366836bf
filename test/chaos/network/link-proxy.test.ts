// Slow links, cut links: what the proxy does to a stream it must undo without losing or reordering a byte.
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../support/node-fleet.ts";
import { LinkProxy } from "./link-proxy.ts";

interface Ends {
  readonly proxy: LinkProxy;
  readonly near: Socket;
  /** What each end has received. */
  readonly received: { near: string; far: string };
  sendBack(text: string): void;
}

async function open(): Promise<Ends> {
  const received = { near: "", far: "" };
  let far: Socket | undefined;
  const server = createServer((socket) => {
    far = socket;
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => (received.far += chunk.toString()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy = await LinkProxy.open((server.address() as AddressInfo).port);
  const near = connect(proxy.port, "127.0.0.1");
  near.on("error", () => near.destroy());
  near.on("data", (chunk: Buffer) => (received.near += chunk.toString()));
  onTestFinished(async () => {
    near.destroy();
    await proxy.close();
    far?.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  await eventually("the connection is through", () => far !== undefined || undefined);
  return { proxy, near, received, sendBack: (text) => void far?.write(text) };
}

test("everything passes both ways", async () => {
  const { near, received, sendBack } = await open();
  near.write("ping");
  sendBack("pong");
  await eventually("both have arrived", () => (received.far === "ping" && received.near === "pong") || undefined);
});

test("a cut direction holds back, the other one passes; healed, everything arrives in order", async () => {
  const { proxy, near, received, sendBack } = await open();
  proxy.cut("forth");
  for (let at = 0; at < 10; at++) near.write(`${at},`);
  sendBack("still here");
  await eventually("the other way passes", () => received.near === "still here" || undefined);
  expect(received.far).toBe("");
  proxy.heal();
  await eventually("what was held arrives", () => received.far === "0,1,2,3,4,5,6,7,8,9," || undefined);
});

test("an end behind a cut is heard of when the link is healed", async () => {
  const { proxy, near, sendBack } = await open();
  let hasEnded = false;
  near.on("close", () => (hasEnded = true));
  proxy.cut("back");
  sendBack("last words");
  near.end();
  expect(hasEnded).toBe(false);
  proxy.heal();
  await eventually("the end arrives", () => hasEnded || undefined);
});

test("a slow link keeps order", async () => {
  const { proxy, near, received } = await open();
  const draws = [0.1, 0.9, 0.3];
  proxy.slow("forth", { ms: 2, draw: () => draws.shift() ?? 0.5 });
  const sent = Array.from({ length: 50 }, (_, at) => `${at};`);
  for (const text of sent) near.write(text);
  await eventually("all is there", () => received.far === sent.join("") || undefined);
});

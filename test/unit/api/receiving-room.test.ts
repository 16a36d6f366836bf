// How much clients together can have a node hold of what they have not sent to its end.
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { MiB } from "../../../src/base/units.ts";
import { RECEIVED_BYTES_FREE, RECEIVED_BYTES_MAX } from "../../../src/api/limits.ts";
import { ReceivingRoom } from "../../../src/api/receiving-room.ts";
import { SocketConnection } from "../../../src/api/socket-adapter.ts";
import { ask, eventually } from "../../support/node-fleet.ts";
import { openApi } from "./api-fixture.ts";

const BODY_BYTES = 60 * MiB;

test("all places together have so much room, and a small part of each needs none", () => {
  const room = new ReceivingRoom();
  const large = room.open();
  large.add(RECEIVED_BYTES_FREE + RECEIVED_BYTES_MAX);
  const small = room.open();
  small.add(RECEIVED_BYTES_FREE);
  expect(() => small.add(1)).toThrow(expect.objectContaining({ code: "E_OVERLOADED", outcome: "not-applied" }));
  large.empty();
  large.empty();
  small.add(RECEIVED_BYTES_MAX);
  expect(() => large.add(RECEIVED_BYTES_FREE + 1)).toThrow(expect.objectContaining({ code: "E_OVERLOADED" }));
});

test("bodies that never end are refused when there is no room for all; small requests are answered", async () => {
  const api = await openApi();
  onTestFinished(() => api.close());
  const uploads = Array.from({ length: 5 }, () => connect(Number(new URL(api.url).port), "127.0.0.1"));
  onTestFinished(() => uploads.forEach((upload) => void upload.destroy()));
  const answer = Promise.race(uploads.map(firstAnswer));
  for (const upload of uploads) sendMostOfArtifact(upload);
  expect(await answer).toMatch(/^HTTP\/1.1 429 [^]*E_OVERLOADED/);
  const { status } = await ask(`${api.url}/v1/kv/data/small`, { method: "PUT", body: "x".repeat(1_000) });
  expect(status).toBe(200);
});

test("a client whose frame never ends is sent away when there is no room for it, and gives its part back", async () => {
  const room = new ReceivingRoom();
  const others = room.open();
  others.add(RECEIVED_BYTES_MAX);
  const { client, ended, refusals } = await openConnection(room);
  client.send(Buffer.alloc(4 * MiB), { fin: false });
  const [code] = await once(client, "close");
  expect(code).toBe(1013);
  expect(await ended).toMatch(/its limit/);
  expect(refusals).toHaveLength(1);
  await eventually("its part is free again", () => {
    others.add(RECEIVED_BYTES_FREE);
    return true;
  });
});

function sendMostOfArtifact(upload: Socket): void {
  const head = "PUT /v1/artifacts/test:a:1.0.0 HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  upload.write(`${head}Content-Length: ${BODY_BYTES + 1}\r\n\r\n`);
  upload.write(Buffer.alloc(BODY_BYTES));
}

async function firstAnswer(upload: Socket): Promise<string> {
  const [bytes] = await once(upload, "data");
  return String(bytes);
}

/** A client's WebSocket, and what becomes of it on the side of the node. */
async function openConnection(room: ReceivingRoom): Promise<{
  readonly client: WebSocket;
  readonly ended: Promise<string>;
  readonly refusals: string[];
}> {
  const refusals: string[] = [];
  const sockets = new WebSocketServer({ noServer: true });
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  const ended = new Promise<string>((onClose) => {
    server.on("upgrade", (request, stream, head) => {
      sockets.handleUpgrade(request, stream, head, (socket) => {
        const place = room.open();
        const onNoRoom = (reason: string): void => void refusals.push(reason);
        const connection = new SocketConnection(socket, { stream, place, onNoRoom, onBadFrames: () => undefined });
        connection.attach({ onOpen: () => undefined, onFrame: () => undefined, onClose });
      });
    });
  });
  await once(server, "listening");
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  await once(client, "open");
  return { client, ended, refusals };
}

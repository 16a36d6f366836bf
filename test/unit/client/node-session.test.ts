import { expect, test } from "vitest";
import { nodeHelloFields, type NodeMessage } from "../../../src/api/protocol.ts";
import { encode } from "../../../src/base/codec.ts";
import { NodeSession } from "../../../src/client/node-session.ts";
import type { ConnectionHandlers } from "../../../src/env/network.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** A node's end of a connection: it answers pings while it is awake. */
class ScriptedNode {
  isAwake = true;
  pings = 0;
  readonly bufferedBytes = 0;
  private handlers: ConnectionHandlers | undefined;

  attach(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
  }

  open(): void {
    this.handlers?.onOpen();
    this.handlers?.onFrame(encode(nodeHelloFields({ kind: "welcome", version: 1, node: "n1", isReady: true })));
  }

  send(frame: Uint8Array): void {
    // The hello is the first frame, and begins with an array of three.
    if (frame[0] === 0x93) return;
    this.pings++;
    if (this.isAwake) this.handlers?.onFrame(encode([[1, 0, null]]));
  }

  close(): void {
    this.handlers = undefined;
  }
}

test("a node that freezes is given up while a read still has time; one that only idles is kept", async () => {
  const clock = new ManualClock();
  const node = new ScriptedNode();
  const lost: string[] = [];
  const messages: NodeMessage[] = [];
  const session = new NodeSession(clock, node, { url: "ws://n1", accept: "ready" }, {
    onOpen: () => undefined,
    onMessage: (_session, message) => void messages.push(message),
    onLeaving: () => undefined,
    onLost: (_session, reason) => void lost.push(reason.code),
  });
  node.open();
  await clock.advance(60_000);
  expect([session.isOpen, lost]).toEqual([true, []]);
  expect(node.pings).toBeGreaterThan(10);
  node.isAwake = false;
  await clock.advance(4_500);
  expect([session.isOpen, lost]).toEqual([false, ["E_UNAVAILABLE"]]);
  expect(messages).toEqual([]);
});

// Owns: the bytes of the first frames of a connection.
//
// dialer → hello → acceptor judges → hello → dialer judges → ready → both are up.
// Whoever refuses says why in a refusal, then closes.
import { z } from "zod";
import { unreachable } from "../../base/assert.ts";
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { parseNodeId } from "../../base/ids.ts";
import { type Hello, type Refusal, REFUSAL_KINDS } from "./handshake.ts";

export type HandshakeMessage =
  | { readonly kind: "hello"; readonly hello: Hello }
  | { readonly kind: "ready" }
  | { readonly kind: "refusal"; readonly refusal: Refusal };

export type DecodedHandshake = HandshakeMessage | { readonly kind: "malformed"; readonly reason: string };

/** "AETH" and the layout of what follows, which outlives protocol versions: any two nodes can tell each other no. */
const MAGIC = Uint8Array.of(0x41, 0x45, 0x54, 0x48, 1);
/** A hello has a few hundred bytes; more is not from a peer. */
export const HANDSHAKE_BYTES_MAX = 4_096;
/** Of a refusal's sentence. */
const TEXT_LENGTH_MAX = 600;

const Version = z.int().min(1).max(1_000_000);
const WireHello = z.object({
  kind: z.literal("hello"),
  versionMin: Version,
  versionMax: Version,
  cluster: z.string().min(1).max(64),
  node: z.string().transform(parseNodeId),
  process: z.string().min(1).max(64),
  isGuest: z.boolean().exactOptional(),
  channels: z.array(z.int().min(1).max(255)).max(255).exactOptional(),
});
const WireRefusal = z.object({
  kind: z.literal("refusal"),
  // A newer peer may know more reasons; its sentence still says what is wrong.
  reason: z.enum(REFUSAL_KINDS).catch("malformed"),
  text: z.string().transform(printable),
});
const WireMessage = z.discriminatedUnion("kind", [WireHello, z.object({ kind: z.literal("ready") }), WireRefusal]);

export function encodeHandshake(message: HandshakeMessage): Uint8Array {
  return Buffer.concat([MAGIC, encode(toWire(message))]);
}

function toWire(message: HandshakeMessage): unknown {
  switch (message.kind) {
    case "hello": {
      const { versions, ...rest } = message.hello;
      return { kind: "hello", versionMin: versions.min, versionMax: versions.max, ...rest };
    }
    case "ready":
      return { kind: "ready" };
    case "refusal":
      return { kind: "refusal", reason: message.refusal.kind, text: message.refusal.text };
    default:
      return unreachable(message);
  }
}

/** Total: any bytes give a message or a reason. */
export function decodeHandshake(frame: Uint8Array): DecodedHandshake {
  if (frame.byteLength > HANDSHAKE_BYTES_MAX) return malformed(`${frame.byteLength} bytes are too many`);
  if (!MAGIC.every((byte, index) => frame[index] === byte)) return malformed("it does not begin like a handshake");
  const body = unpack(frame.subarray(MAGIC.length));
  const parsed = safeParse(body);
  if (parsed === undefined) return malformed("its fields are not those of a handshake");
  switch (parsed.kind) {
    case "hello": {
      const { kind: _kind, versionMin, versionMax, ...rest } = parsed;
      if (versionMin > versionMax) return malformed("its range of versions is empty");
      const versions = { min: versionMin, max: versionMax };
      return { kind: "hello", hello: { versions, ...rest } };
    }
    case "ready":
      return parsed;
    case "refusal":
      return { kind: "refusal", refusal: { kind: parsed.reason, text: parsed.text } };
    default:
      return unreachable(parsed);
  }
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return decodeUntrusted(bytes, HANDSHAKE_BYTES_MAX);
  } catch {
    // ignored: what is not MessagePack is as malformed as a wrong field, and is answered the same.
    return undefined;
  }
}

function safeParse(body: unknown): z.infer<typeof WireMessage> | undefined {
  try {
    return WireMessage.parse(body);
  } catch {
    // ignored: id parsers throw where zod collects; both mean that the fields are not those of a handshake.
    return undefined;
  }
}

function malformed(reason: string): DecodedHandshake {
  return { kind: "malformed", reason };
}

/** Peers' text goes to our log: one line, bounded. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").slice(0, TEXT_LENGTH_MAX);
}

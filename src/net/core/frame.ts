// Owns: the bytes of a frame: one version byte, a checksum of what follows, then for each message a channel byte, a
// length and the payload. A frame that was damaged on its way says nothing; believed, it could say anything.
// Does not own: what a channel number means, nor the frames before a connection is up (handshake.ts).
import { crc32 } from "../../base/digest.ts";

/** The layout of frames is part of the protocol version that the handshake negotiates. */
export const FRAME_HEADER_BYTES = 5;
const CHECKSUM_AT = 1;
export const MESSAGE_HEADER_BYTES = 5;
/** A frame of empty messages would otherwise cost its reader far more memory than bytes. */
export const FRAME_MESSAGES_MAX = 65_536;

export interface FrameMessage {
  readonly channel: number;
  readonly payload: Uint8Array;
}

export type DecodedFrame =
  | { readonly kind: "messages"; readonly messages: readonly FrameMessage[] }
  | { readonly kind: "refused"; readonly reason: string };

/** Copies every payload once, into the one buffer that leaves. */
export function encodeFrame(version: number, messages: readonly FrameMessage[]): Uint8Array {
  const frame = Buffer.allocUnsafe(frameBytesOf(messages));
  frame[0] = version;
  let offset = FRAME_HEADER_BYTES;
  for (const { channel, payload } of messages) {
    frame[offset] = channel;
    frame.writeUInt32BE(payload.byteLength, offset + 1);
    frame.set(payload, offset + MESSAGE_HEADER_BYTES);
    offset += MESSAGE_HEADER_BYTES + payload.byteLength;
  }
  frame.writeUInt32BE(crc32(frame.subarray(FRAME_HEADER_BYTES)), CHECKSUM_AT);
  return frame;
}

function frameBytesOf(messages: readonly FrameMessage[]): number {
  let bytes = FRAME_HEADER_BYTES;
  for (const { payload } of messages) bytes += MESSAGE_HEADER_BYTES + payload.byteLength;
  return bytes;
}

/**
 * Total: any bytes give messages or a reason. A frame is accepted as a whole or not at all. The payloads are views of
 * `frame`; they stay valid as long as nobody writes to it.
 */
export function decodeFrame(version: number, frame: Uint8Array): DecodedFrame {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  if (bytes[0] !== version) return refused(`its version byte is ${String(bytes[0])}, not the negotiated ${version}`);
  if (bytes.length < FRAME_HEADER_BYTES) return refused("it ends inside its header");
  if (bytes.readUInt32BE(CHECKSUM_AT) !== crc32(bytes.subarray(FRAME_HEADER_BYTES))) {
    return refused("it does not match its checksum: it was damaged on its way");
  }
  const messages: FrameMessage[] = [];
  let offset = FRAME_HEADER_BYTES;
  while (offset < bytes.length) {
    if (messages.length === FRAME_MESSAGES_MAX) return refused(`it has more than ${FRAME_MESSAGES_MAX} messages`);
    const start = offset + MESSAGE_HEADER_BYTES;
    if (start > bytes.length) return refused(`it ends inside a message header at byte ${offset}`);
    const end = start + bytes.readUInt32BE(offset + 1);
    if (end > bytes.length) return refused(`the message at byte ${offset} ends ${end - bytes.length} bytes behind it`);
    messages.push({ channel: bytes.readUInt8(offset), payload: bytes.subarray(start, end) });
    offset = end;
  }
  if (messages.length === 0) return refused("it has no message");
  return { kind: "messages", messages };
}

function refused(reason: string): DecodedFrame {
  return { kind: "refused", reason };
}

// Owns: frames of the client protocol: the messages of one turn as one MessagePack array, bounded both ways.
import { decode, encode } from "../base/codec.ts";
import { AetherError } from "../base/errors.ts";
import { checkShape } from "../base/message-shape.ts";
import { list } from "./core/message-fields.ts";
import { CLIENT_FRAME_BYTES_MAX, FRAME_BYTES_TARGET } from "./limits.ts";

const ARRAY_HEADER_BYTES = 5;
const MESSAGE_BYTES_MAX = CLIENT_FRAME_BYTES_MAX - ARRAY_HEADER_BYTES;

/** Collects the messages of a turn. Each is encoded when it is added, so one that cannot be fails alone. */
export class FrameWriter {
  private messages: Uint8Array[] = [];
  private messageBytes = 0;
  private full: Uint8Array[] = [];
  private fullBytes = 0;

  /** Bytes added since the last `take`. */
  get bytes(): number {
    return this.fullBytes + this.messageBytes;
  }

  /** @throws AetherError E_TOO_LARGE, or E_INVALID for what MessagePack cannot hold. */
  add(fields: readonly unknown[]): void {
    const message = encodeMessage(fields);
    if (this.messageBytes + message.byteLength > FRAME_BYTES_TARGET) this.cut();
    this.messages.push(message);
    this.messageBytes += message.byteLength;
  }

  /** The frames of this turn; the writer is empty afterwards. */
  take(): readonly Uint8Array[] {
    this.cut();
    const frames = this.full;
    this.full = [];
    this.fullBytes = 0;
    return frames;
  }

  private cut(): void {
    if (this.messages.length === 0) return;
    // An array is its header and its elements: encoded messages need no second encoding.
    this.full.push(Buffer.concat([arrayHeader(this.messages.length), ...this.messages]));
    this.fullBytes += this.messageBytes;
    this.messages = [];
    this.messageBytes = 0;
  }
}

/** The undecoded content of a frame. @throws AetherError E_INVALID, E_TOO_LARGE */
export function decodeFrame(frame: Uint8Array): unknown {
  checkShape(frame);
  return decode(frame, CLIENT_FRAME_BYTES_MAX);
}

/** The messages of a frame. @throws AetherError E_INVALID, E_TOO_LARGE */
export function messagesOf(frame: Uint8Array): readonly unknown[] {
  return list(decodeFrame(frame), "frame");
}

function encodeMessage(fields: readonly unknown[]): Uint8Array {
  const message = encodeFields(fields);
  if (message.byteLength <= MESSAGE_BYTES_MAX) return message;
  throw new AetherError("E_TOO_LARGE", `a message of ${message.byteLength} bytes is over ${MESSAGE_BYTES_MAX}`, {
    details: { limit: MESSAGE_BYTES_MAX, actual: message.byteLength },
  });
}

function encodeFields(fields: readonly unknown[]): Uint8Array {
  try {
    const message = encode(fields);
    // What the other side would refuse as garbage must fail here, alone, and not take the connection with it.
    checkShape(message);
    return message;
  } catch (error) {
    if (error instanceof AetherError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new AetherError("E_INVALID", `this is no plain data and cannot be sent: ${reason}`, { cause: error });
  }
}

function arrayHeader(length: number): Uint8Array {
  if (length < 16) return Uint8Array.of(0x90 | length);
  const header = Buffer.allocUnsafe(ARRAY_HEADER_BYTES);
  header[0] = 0xdd;
  header.writeUInt32BE(length, 1);
  return header;
}

// Owns: the few messages of etcd's API that a benchmark needs, in protobuf inside gRPC frames, by hand: so that what is
// measured is etcd and not a client library. Field numbers are those of etcdserverpb/rpc.proto and mvccpb/kv.proto.

/** gRPC's prefix of a message: a compression flag and the length. */
const PREFIX_BYTES = 5;
const WIRE_VARINT = 0;
const WIRE_BYTES = 2;
const KEY_FIELD = 0x0a; // field 1, bytes: of PutRequest and RangeRequest
const VALUE_FIELD = 0x12; // field 2, bytes: of PutRequest

export interface FoundValue {
  readonly value: string;
  readonly modRevision: bigint;
}

/** `PutRequest { key = 1, value = 2 }` as one gRPC frame. Texts are ASCII. */
export function encodePut(key: string, value: string): Buffer {
  const bodyBytes = fieldBytes(key.length) + fieldBytes(value.length);
  const frame = startFrame(bodyBytes);
  const at = writeText(frame, PREFIX_BYTES, KEY_FIELD, key);
  writeText(frame, at, VALUE_FIELD, value);
  return frame;
}

/** `RangeRequest { key = 1 }`: one key, linearizable, which is etcd's default. */
export function encodeRange(key: string): Buffer {
  const frame = startFrame(fieldBytes(key.length));
  writeText(frame, PREFIX_BYTES, KEY_FIELD, key);
  return frame;
}

/** A message without fields, such as `StatusRequest`. */
export function encodeEmpty(): Buffer {
  return startFrame(0);
}

/** `PutResponse { header = 1 { revision = 3 } }` */
export function decodePutRevision(frame: Buffer): bigint {
  const header = bytesField(messageOf(frame), 1);
  return header === undefined ? 0n : varintField(header, 3);
}

/** `RangeResponse { kvs = 2 { mod_revision = 3, value = 5 } }`: the first one. */
export function decodeRange(frame: Buffer): FoundValue | undefined {
  const entry = bytesField(messageOf(frame), 2);
  if (entry === undefined) return undefined;
  const value = bytesField(entry, 5)?.toString("latin1") ?? "";
  return { value, modRevision: varintField(entry, 3) };
}

/** `StatusResponse { header = 1 { member_id = 2 }, leader = 4 }` */
export function decodeIsLeader(frame: Buffer): boolean {
  const message = messageOf(frame);
  const header = bytesField(message, 1);
  const leader = varintField(message, 4);
  return leader !== 0n && header !== undefined && varintField(header, 2) === leader;
}

function startFrame(bodyBytes: number): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + bodyBytes);
  frame[0] = 0; // not compressed
  frame.writeUInt32BE(bodyBytes, 1);
  return frame;
}

function messageOf(frame: Buffer): Buffer {
  const length = frame.length < PREFIX_BYTES ? 0 : frame.readUInt32BE(1);
  if (frame[0] !== 0 || frame.length !== PREFIX_BYTES + length) {
    throw new Error(`not one plain gRPC message: ${frame.length} bytes, flag ${frame[0]}`);
  }
  return frame.subarray(PREFIX_BYTES);
}

function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4;
}

/** Answers the offset behind it. */
function writeText(target: Buffer, offset: number, tag: number, text: string): number {
  let at = offset;
  target[at++] = tag;
  let length = text.length;
  for (; length >= 0x80; length >>>= 7) target[at++] = (length & 0x7f) | 0x80;
  target[at++] = length;
  return at + target.write(text, at, "latin1");
}

/** The first field of this number that holds bytes. */
function bytesField(message: Buffer, wanted: number): Buffer | undefined {
  return findField(message, wanted)?.bytes;
}

/** 0 when it is absent, as in protobuf. */
function varintField(message: Buffer, wanted: number): bigint {
  return findField(message, wanted)?.varint ?? 0n;
}

interface Field {
  readonly bytes?: Buffer;
  readonly varint?: bigint;
}

function findField(message: Buffer, wanted: number): Field | undefined {
  for (let at = 0; at < message.length; ) {
    const tag = readVarint(message, at);
    const number = tag.value / 8;
    const field = readVarint(message, tag.next);
    const wire = tag.value % 8;
    if (wire !== WIRE_VARINT && wire !== WIRE_BYTES) throw new Error(`unexpected protobuf wire type ${wire}`);
    const isWanted = Math.floor(number) === wanted;
    if (wire === WIRE_VARINT) {
      if (isWanted) return { varint: bigVarint(message, tag.next, field.next) };
      at = field.next;
    } else {
      if (isWanted) return { bytes: message.subarray(field.next, field.next + field.value) };
      at = field.next + field.value;
    }
  }
  return undefined;
}

/** `value` is exact up to 2^53, which is enough for tags and lengths. */
function readVarint(message: Buffer, offset: number): { readonly value: number; readonly next: number } {
  let value = 0;
  let scale = 1;
  for (let at = offset; ; at++) {
    const byte = message[at];
    if (byte === undefined) throw new Error("a protobuf number is cut off");
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: at + 1 };
    scale *= 0x80;
  }
}

function bigVarint(message: Buffer, from: number, to: number): bigint {
  let value = 0n;
  for (let at = to - 1; at >= from; at--) value = (value << 7n) | BigInt((message[at] ?? 0) & 0x7f);
  return value;
}

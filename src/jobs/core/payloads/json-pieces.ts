// Owns: MessagePack as JSON text, a piece at a time: a payload of many MiB must not keep its node from everything else
// while it is turned into text. What it says is what jsonText says of the decoded value.
import { AetherError } from "../../../base/errors.ts";
import { KiB } from "../../../base/units.ts";

/** About the characters of one piece. */
const PIECE_CHARACTERS = 64 * KiB;
/** Of a text or of bytes; a multiple of three, so that base64 of the parts is base64 of the whole. */
const SLICE_BYTES = 48 * KiB;

interface Open {
  readonly isMap: boolean;
  /** Keys and values that it has. */
  readonly size: number;
  /** Keys and values that are still to come. */
  left: number;
}

/** @throws AetherError E_DATA_CORRUPT for what `encode` does not make */
export function* jsonPieces(bytes: Uint8Array): Generator<string> {
  const reader = new Reader(bytes);
  const open: Open[] = [];
  let text = "";
  for (;;) {
    for (const part of reader.value(open)) {
      text += part;
      if (text.length < PIECE_CHARACTERS) continue;
      yield text;
      text = "";
    }
    text += closed(open);
    const inner = open.at(-1);
    if (inner === undefined) break;
    text += separator(inner);
    inner.left -= 1;
  }
  if (!reader.isAtEnd) throw corrupt();
  yield text;
}

/** Ends what is complete. */
function closed(open: Open[]): string {
  let text = "";
  for (let inner = open.at(-1); inner?.left === 0; inner = open.at(-1)) {
    text += inner.isMap ? "}" : "]";
    open.pop();
  }
  return text;
}

/** What stands before the next key or value: nothing before the first. */
function separator({ isMap, left, size }: Open): string {
  if (isMap && left % 2 === 1) return ":";
  return left === size ? "" : ",";
}

class Reader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.byteLength;
  }

  /** The next value; of an array or an object its beginning. */
  *value(open: Open[]): Generator<string> {
    const head = this.uint(1);
    if (head <= 0x7f) return void (yield String(head));
    if (head >= 0xe0) return void (yield String(head - 0x100));
    if (head <= 0x8f) return void (yield this.begin(open, true, head & 0x0f));
    if (head <= 0x9f) return void (yield this.begin(open, false, head & 0x0f));
    if (head <= 0xbf) return void (yield* this.string(head & 0x1f));
    yield* this.longValue(head, open);
  }

  private *longValue(head: number, open: Open[]): Generator<string> {
    switch (head) {
      case 0xc0:
        return void (yield "null");
      case 0xc2:
        return void (yield "false");
      case 0xc3:
        return void (yield "true");
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return void (yield* this.base64(this.uint(1 << (head - 0xc4))));
      case 0xca:
        return void (yield JSON.stringify(this.view.getFloat32(this.skip(4))));
      case 0xcb:
        return void (yield JSON.stringify(this.view.getFloat64(this.skip(8))));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return void (yield String(this.uint(1 << (head - 0xcc))));
      case 0xcf:
        return void (yield String(Number(this.view.getBigUint64(this.skip(8)))));
      case 0xd0:
        return void (yield String(this.view.getInt8(this.skip(1))));
      case 0xd1:
        return void (yield String(this.view.getInt16(this.skip(2))));
      case 0xd2:
        return void (yield String(this.view.getInt32(this.skip(4))));
      case 0xd3:
        return void (yield String(Number(this.view.getBigInt64(this.skip(8)))));
      case 0xd4:
        // The one extension that is used: undefined.
        this.skip(2);
        return void (yield "null");
      case 0xd9:
      case 0xda:
      case 0xdb:
        return void (yield* this.string(this.uint(1 << (head - 0xd9))));
      case 0xdc:
      case 0xdd:
        return void (yield this.begin(open, false, this.uint(2 << (head - 0xdc))));
      case 0xde:
      case 0xdf:
        return void (yield this.begin(open, true, this.uint(2 << (head - 0xde))));
      default:
        throw corrupt();
    }
  }

  private begin(open: Open[], isMap: boolean, count: number): string {
    const size = isMap ? 2 * count : count;
    open.push({ isMap, size, left: size });
    return isMap ? "{" : "[";
  }

  private *string(length: number): Generator<string> {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    yield '"';
    for (const [slice, isLast] of this.slices(length)) {
      yield JSON.stringify(decoder.decode(slice, { stream: !isLast })).slice(1, -1);
    }
    yield '"';
  }

  private *base64(length: number): Generator<string> {
    yield '{"$base64":"';
    for (const [slice] of this.slices(length)) yield Buffer.from(slice).toString("base64");
    yield '"}';
  }

  private *slices(length: number): Generator<readonly [slice: Uint8Array, isLast: boolean]> {
    const end = this.skip(length) + length;
    for (let at = end - length; at < end; at += SLICE_BYTES) {
      const to = Math.min(end, at + SLICE_BYTES);
      yield [this.bytes.subarray(at, to), to === end];
    }
  }

  private uint(size: number): number {
    const at = this.skip(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** Where the next so many bytes begin. */
  private skip(size: number): number {
    const { at } = this;
    if (at + size > this.bytes.byteLength) throw corrupt();
    this.at = at + size;
    return at;
  }
}

function corrupt(): AetherError {
  return new AetherError("E_DATA_CORRUPT", "these bytes are not those of a payload");
}

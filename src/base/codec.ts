// Owns: the one binary encoding of wires and disks (MessagePack), bounded before it is decoded.
// Not self-describing by version: every container (frame, record, archive) carries its own format version.
import { Packr } from "msgpackr";
import { AetherError } from "./errors.ts";
import { checkShape } from "./message-shape.ts";

// Records (msgpackr's shared structures) are off: bytes must mean the same to every reader, for ever.
const packr = new Packr({ useRecords: false, moreTypes: false, int64AsType: "number" });

/** Encodes plain data: null, booleans, numbers, strings, Uint8Array, arrays and string-keyed objects. */
export function encode(value: unknown): Buffer {
  return packr.pack(value);
}

/** The same for what may have many MiB: no more is kept than the bytes themselves, and nothing for the next value. */
export function encodeLarge(value: unknown): Uint8Array {
  // A packer keeps the largest buffer that it has ever needed, and gives views of it.
  const own = new Packr({ useRecords: false, moreTypes: false, int64AsType: "number" });
  return new Uint8Array(own.pack(value));
}

/**
 * Decodes what `encode` made. The result is untrusted: parse it before use.
 * @throws AetherError E_INVALID for bytes that are not one complete value; E_TOO_LARGE beyond `bytesMax`.
 */
export function decode(bytes: Uint8Array, bytesMax: number): unknown {
  if (bytes.byteLength > bytesMax) {
    throw new AetherError("E_TOO_LARGE", `${bytes.byteLength} bytes exceed the limit of ${bytesMax}`, {
      details: { limit: bytesMax, actual: bytes.byteLength },
    });
  }
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw new AetherError("E_INVALID", "these bytes are not a MessagePack value", { cause: error });
  }
}

/**
 * Decodes bytes of somebody who has not said who he is: a few bytes could claim gigabytes, so their shape is
 * checked first. `valuesMax` is for frames that may be large because of bytes they carry, not because of many values.
 * @throws AetherError E_INVALID, E_TOO_LARGE
 */
export function decodeUntrusted(bytes: Uint8Array, bytesMax: number, valuesMax?: number): unknown {
  if (bytes.byteLength <= bytesMax) checkShape(bytes, undefined, valuesMax);
  return decode(bytes, bytesMax);
}

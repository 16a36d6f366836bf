// Owns: the canonical bytes of a value: equal data has equal bytes, so comparing values is comparing bytes.
import { decode, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import type { KvValue } from "./schema.ts";
import { checkLimit, VALUE_BYTES_MAX, VALUE_DEPTH_MAX } from "./limits.ts";

/**
 * Encodes plain data with the keys of objects sorted.
 * @throws AetherError E_INVALID, naming the place, for anything that is not plain data; E_TOO_LARGE above 512 KiB.
 */
export function encodeValue(value: KvValue): Uint8Array {
  const bytes = encode(canonical(value, []));
  checkLimit("bytes of a value", VALUE_BYTES_MAX, bytes.byteLength);
  return bytes;
}

/** The data of `bytes` that `encodeValue` made. Nothing of the result shares memory with `bytes`. */
export function decodeValue(bytes: Uint8Array): KvValue {
  // Decoded binary is a view of what it is read from: a caller must not be able to write into the store's state.
  const source = isContainerOrBinary(bytes[0] ?? 0) ? Uint8Array.from(bytes) : bytes;
  return decode(source, source.byteLength);
}

/** As `decodeValue`, but undefined for bytes that are no value: for `apply`, which never throws. */
export function decodeValueOrNone(bytes: Uint8Array): KvValue | undefined {
  try {
    return decode(bytes, bytes.byteLength);
  } catch {
    // ignored: bytes that are no value compare with nothing, alike on every replica
    return undefined;
  }
}

// The codec would write U+FFFD instead: other data than was given, and two fields could become one.
const HALF_PAIR = /\p{Surrogate}/u;

/** Where in the value the walk is: one stack for the whole walk. */
type Path = (string | number)[];

function canonical(value: unknown, path: Path): unknown {
  switch (typeof value) {
    case "string":
      if (HALF_PAIR.test(value)) throw notPlain(path, "it has half a surrogate pair, which has no UTF-8");
      return value;
    case "boolean":
      return value;
    case "number":
      if (!Number.isFinite(value)) throw notPlain(path, `${value} has no JSON form`);
      return value;
    case "object":
      if (value === null || value instanceof Uint8Array) return value;
      if (path.length >= VALUE_DEPTH_MAX) {
        throw notPlain(path, `it is nested deeper than ${VALUE_DEPTH_MAX} levels or contains itself`);
      }
      return Array.isArray(value) ? canonicalArray(value, path) : canonicalObject(value, path);
    default:
      throw notPlain(path, `${typeof value} cannot be stored`);
  }
}

function canonicalArray(items: readonly unknown[], path: Path): unknown[] {
  // Visits holes too, which `map` would skip and the codec would write as undefined.
  const all: unknown[] = [];
  for (let index = 0; index < items.length; index++) all.push(canonicalAt(index, items[index], path));
  return all;
}

function canonicalObject(source: object, path: Path): Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(source);
  if (prototype !== Object.prototype && prototype !== null) {
    throw notPlain(path, `a ${source.constructor.name} is not plain data`);
  }
  const sorted: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(source).sort(byKey)) {
    if (key === "__proto__") throw notPlain(path, 'a field cannot be named "__proto__"');
    if (HALF_PAIR.test(key)) throw notPlain([...path, key], "its name has half a surrogate pair, which has no UTF-8");
    sorted[key] = canonicalAt(key, item, path);
  }
  return sorted;
}

function canonicalAt(step: string | number, item: unknown, path: Path): unknown {
  path.push(step);
  const result = canonical(item, path);
  path.pop();
  return result;
}

function byKey([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

function notPlain(path: Path, reason: string): AetherError {
  const shown = path.slice(0, 8).join(".");
  const place = path.length === 0 ? "the value" : `"${shown}${path.length > 8 ? "…" : ""}" in the value`;
  return new AetherError("E_INVALID", `cannot store ${place}: ${reason}`, { details: { path: shown, reason } });
}

// Families of MessagePack's first byte that are or may hold binary: fixmap, fixarray, bin, array, map.
function isContainerOrBinary(first: number): boolean {
  return (first >= 0x80 && first <= 0x9f) || (first >= 0xc4 && first <= 0xc6) || (first >= 0xdc && first <= 0xdf);
}

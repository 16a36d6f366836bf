// Owns: what may travel in a call: plain data of bounded size, the same on one node (structured clone) and between
// nodes (MessagePack), so that no slice works only as long as its callee happens to be near.

import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";

/** Largest input and largest output of a call: both are held whole, several times, on their way. */
export const CALL_BYTES_MAX = 4 * MiB;

/** Why a value may not travel. `path` is where, for example `items[3].price`. */
export type PlainRefusal =
  | { readonly kind: "not-plain"; readonly path: string; readonly found: string }
  | { readonly kind: "too-large"; readonly limit: number; readonly actual: number };

export interface PlainData {
  readonly kind: "plain";
  readonly value: unknown;
  readonly bytes: number;
}

export type PlainResult = PlainData | PlainRefusal;

/** Deeper data overflows stacks somewhere on its way. */
const DEPTH_MAX = 100;
/** What MessagePack needs at most for the head of one value. */
const HEAD_BYTES = 5;

/**
 * The value as it travels, or why it may not. Like JSON: `toJSON` is asked first (so a Date becomes ISO text) and
 * absent properties are left out. Unlike JSON: `undefined` as the whole value, bytes, NaN and infinities survive.
 * `bytes` is the size to within a few bytes per value; counting ends at the first value beyond `bytesMax`.
 */
export function toPlain(value: unknown, bytesMax: number): PlainResult {
  const walk: Walk = { bytes: 0, bytesMax, refusal: undefined };
  const plain = copyValue(walk, value, "", 0);
  return walk.refusal ?? { kind: "plain", value: plain, bytes: walk.bytes };
}

/** The refusal as an error; `tried` is what was not done because of it, `what` the value that was refused. */
export function plainRefusalError(tried: string, refusal: PlainRefusal, what = "its input"): AetherError {
  if (refusal.kind === "not-plain") {
    const place = refusal.path === "" ? what : `${what} at ${refusal.path}`;
    return new AetherError("E_INVALID", `${tried}: ${place} is ${refusal.found}; send plain data`);
  }
  const { limit, actual } = refusal;
  return new AetherError("E_TOO_LARGE", `${tried}: ${what} is above ${limit} bytes; send less`, {
    details: { limit, actual },
  });
}

interface Walk {
  bytes: number;
  readonly bytesMax: number;
  refusal: PlainRefusal | undefined;
}

function copyValue(walk: Walk, value: unknown, path: string, depth: number): unknown {
  switch (typeof value) {
    case "undefined":
    case "boolean":
      return count(walk, 9, value);
    case "number":
      // -0 is 0 on every wire.
      return count(walk, 9, value === 0 ? 0 : value);
    case "string":
      return copyText(walk, value);
    case "object":
      return value === null ? count(walk, 1, null) : copyObject(walk, value, path, depth);
    default:
      return refuse(walk, path, `a ${typeof value}`);
  }
}

function copyObject(walk: Walk, value: object, path: string, depth: number): unknown {
  if (depth >= DEPTH_MAX) return refuse(walk, path, `data deeper than ${DEPTH_MAX} levels, or a cycle`);
  if (Array.isArray(value)) return copyArray(walk, value, path, depth);
  if (value instanceof Uint8Array) return copyBytes(walk, value);
  if (hasToJson(value)) return copyValue(walk, value.toJSON(), path, depth + 1);
  const prototype: unknown = Object.getPrototypeOf(value);
  // Objects of another realm (vm contexts) have another Object.prototype; its own prototype is null all the same.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    return refuse(walk, path, `an instance of ${Object.prototype.toString.call(value).slice(8, -1)}`);
  }
  return copyRecord(walk, value, path, depth);
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return "toJSON" in value && typeof value.toJSON === "function";
}

/** Half of a character (a surrogate without the other) is none in UTF-8: nobody would read what was given here. */
function copyText(walk: Walk, text: string): string {
  return count(walk, HEAD_BYTES + Buffer.byteLength(text), text.toWellFormed());
}

function copyBytes(walk: Walk, bytes: Uint8Array): Uint8Array {
  count(walk, HEAD_BYTES + bytes.byteLength, undefined);
  // A view of a pooled buffer would take the whole pool with it through a structured clone.
  return walk.refusal === undefined ? new Uint8Array(bytes) : bytes;
}

function copyArray(walk: Walk, items: readonly unknown[], path: string, depth: number): unknown[] {
  const copy: unknown[] = [];
  count(walk, HEAD_BYTES, undefined);
  for (let index = 0; index < items.length && walk.refusal === undefined; index += 1) {
    // As in JSON: a hole has no meaning on a wire.
    copy.push(copyValue(walk, items[index] ?? null, `${path}[${index}]`, depth + 1));
  }
  return copy;
}

function copyRecord(walk: Walk, record: object, path: string, depth: number): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  count(walk, HEAD_BYTES, undefined);
  for (const [given, value] of Object.entries(record)) {
    if (value === undefined) continue;
    if (walk.refusal !== undefined) break;
    const name = copyText(walk, given);
    // Decoders of MessagePack rename it, and assigning it sets a prototype: it would not arrive as what it was.
    if (name === "__proto__") refuse(walk, path, "an object with a property named __proto__");
    else copy[name] = copyValue(walk, value, path === "" ? name : `${path}.${name}`, depth + 1);
  }
  return copy;
}

function count<T>(walk: Walk, bytes: number, value: T): T {
  walk.bytes += bytes;
  if (walk.bytes > walk.bytesMax) {
    walk.refusal ??= { kind: "too-large", limit: walk.bytesMax, actual: walk.bytes };
  }
  return value;
}

function refuse(walk: Walk, path: string, found: string): undefined {
  walk.refusal ??= { kind: "not-plain", path, found };
  return undefined;
}

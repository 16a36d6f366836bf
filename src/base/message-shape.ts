// Owns: a look over undecoded MessagePack from strangers. A decoder believes what an array or map says of its length
// and allocates for it: a few bytes could claim gigabytes. Here no value may promise more than the frame can hold, and
// only plain data passes: extensions would become dates, sets or regular expressions. The one exception is undefined.
// What passes can be decoded: a decoder that throws later would throw on every node that looks at the stored value.
import { AetherError } from "./errors.ts";

/** Levels of arrays and objects: a value of the store may have 64, its frame has a few around it. */
const DEPTH_MAX = 80;

/** What is still to come in the containers around: one list for all calls, of which there are several per request. */
const OUTER: number[] = [];

/**
 * Checks that `bytes` are one complete MessagePack value of plain data whose containers are as long as they say, and
 * hold no more than `valuesMax` values in all: a byte each, but many times that once they are decoded.
 * @throws AetherError E_INVALID
 */
export function checkShape(bytes: Uint8Array, depthMax = DEPTH_MAX, valuesMax = Number.POSITIVE_INFINITY): void {
  const { length } = bytes;
  // Values still to come in the innermost container, and in those around it: keys and values of a map count alike.
  let left = 1;
  let isMap = false;
  const outer = OUTER;
  let depth = 0;
  // Values still to come in all of them; each takes a byte at least.
  let promised = 1;
  let inContainers = 0;
  let at = 0;
  for (;;) {
    while (left === 0) {
      if (depth === 0) {
        if (at !== length) throw notOneValue();
        return;
      }
      const next = outer[--depth] ?? 0;
      left = Math.floor(next / 2);
      isMap = next % 2 === 1;
    }
    if (promised > length - at) throw notOneValue();
    promised--;
    const head = bytes[at++] ?? 0;
    // Keys stand where an even number is left. Decoders make objects of maps, whose keys can only be strings.
    if (isMap && left % 2 === 0 && !isString(head)) throw notPlain(depthMax);
    left--;
    if (head <= 0x7f || head >= 0xe0) continue;
    let items = 0;
    const opensMap = head <= 0x8f || head >= 0xde;
    if (head <= 0x8f) items = 2 * (head & 0x0f);
    else if (head <= 0x9f) items = head & 0x0f;
    else if (head <= 0xbf) at += head & 0x1f;
    else if (head === FIXEXT_1) {
      if (bytes[at] !== 0 || bytes[at + 1] !== 0) throw notPlain(depthMax);
      at += 2;
    } else {
      const shape = SHAPES[head - 0xc0] ?? REFUSED;
      if (shape === REFUSED) throw notPlain(depthMax);
      const lengthBytes = shape & 0x0f;
      const size = readLength(bytes, at, lengthBytes);
      at += lengthBytes;
      if ((shape & ARRAY) !== 0) items = size;
      else if ((shape & MAP) !== 0) items = 2 * size;
      else at += size + ((shape >> 4) & 0x1f);
    }
    if (items > 0) {
      if (depth >= depthMax) throw notPlain(depthMax);
      outer[depth++] = left * 2 + (isMap ? 1 : 0);
      left = items;
      isMap = opensMap;
      promised += items;
      inContainers += items;
      if (inContainers > valuesMax) throw tooManyValues(valuesMax);
    }
  }
}

// Per head byte from 0xc0 on: bytes of the length field (bits 0-3), bytes after it apart from what the length says
// (bits 4-8), and whether the length counts values instead of bytes.
const ARRAY = 0x200;
const MAP = 0x400;
const REFUSED = -1;
const FIXEXT_1 = 0xd4;
const SHAPES: readonly number[] = [
  0, REFUSED, 0, 0, // nil, (unused), false, true
  1, 2, 4, // bin 8, 16, 32
  REFUSED, REFUSED, REFUSED, // ext 8, 16, 32
  4 << 4, 8 << 4, // float 32, 64
  1 << 4, 2 << 4, 4 << 4, 8 << 4, // uint 8 to 64
  1 << 4, 2 << 4, 4 << 4, 8 << 4, // int 8 to 64
  REFUSED, REFUSED, REFUSED, REFUSED, REFUSED, // fixext 1 to 16
  1, 2, 4, // str 8, 16, 32
  2 | ARRAY, 4 | ARRAY,
  2 | MAP, 4 | MAP,
];

function isString(head: number): boolean {
  return (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb);
}

function readLength(bytes: Uint8Array, at: number, lengthBytes: number): number {
  let value = 0;
  for (let index = 0; index < lengthBytes; index++) value = value * 256 + (bytes[at + index] ?? 0);
  return value;
}

function notPlain(depthMax: number): AetherError {
  return new AetherError(
    "E_INVALID",
    `only plain data can be sent, at most ${depthMax} levels deep: no dates, sets, functions or other objects`,
  );
}

function tooManyValues(valuesMax: number): AetherError {
  return new AetherError("E_INVALID", `there are more than ${valuesMax} values in these bytes`);
}

function notOneValue(): AetherError {
  return new AetherError("E_INVALID", "these bytes are not one complete MessagePack value");
}

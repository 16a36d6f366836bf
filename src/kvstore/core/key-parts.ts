// Owns: the parts that keys are made of: escaped names, numbers of a fixed width, and the error for what is no key.
import { AetherError } from "../../base/errors.ts";

// Control characters and half surrogate pairs have no business in a key: the one breaks lines, the other has no UTF-8.
export const UNPRINTABLE = /[\p{Control}\p{Surrogate}]/u;
/** Of the longest number in a key: a wall time in milliseconds. */
const NUMBER_DIGITS_MAX = 15;
const DIGITS = /^\d+$/;

/** The name as one segment of a key. @throws AetherError E_INVALID */
export function escapeName(name: string): string {
  if (name === "" || UNPRINTABLE.test(name)) throw badKey(name, "a name is empty or has unprintable characters");
  // `encodeURIComponent` leaves "*" alone, which patterns give a meaning to.
  return encodeURIComponent(name).replaceAll("*", "%2A");
}

/** The name that `segment` of the key `text` is. @throws AetherError E_INVALID */
export function nameOf(text: string, segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    throw new AetherError("E_INVALID", `"${text}" is not a key: "${segment}" is not a well escaped name`, {
      cause: error,
    });
  }
}

/** The number that `segment` of the key `text` is. @throws AetherError E_INVALID */
export function numberOf(text: string, segment: string): number {
  if (!DIGITS.test(segment) || segment.length > NUMBER_DIGITS_MAX) throw badKey(text, `"${segment}" is not a number`);
  return Number(segment);
}

/** Zero-padded, so that the order of keys is the order of numbers. @throws AetherError E_INVALID */
export function padded(value: number, digits: number): string {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 10 ** digits) {
    throw new AetherError("E_INVALID", `${value} cannot be part of a key: use 0 to ${10 ** digits - 1}`);
  }
  return String(value).padStart(digits, "0");
}

export function badKey(text: string, reason: string): AetherError {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  return new AetherError("E_INVALID", `${JSON.stringify(shown)} is not a key: ${reason}`, { details: { key: shown } });
}

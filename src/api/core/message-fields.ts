// Owns: reading the fields of a decoded message: what has the wrong type is garbage.
import { AetherError } from "../../base/errors.ts";

export function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(what);
  return value;
}

/** A whole number from 0. */
export function count(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw malformed(what);
  return value;
}

export function text(value: unknown, what: string): string {
  if (typeof value !== "string") throw malformed(what);
  return value;
}

export function boolean(value: unknown, what: string): boolean {
  if (typeof value !== "boolean") throw malformed(what);
  return value;
}

export function bytes(value: unknown, what: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw malformed(what);
  return value;
}

export function malformed(what: string): AetherError {
  return new AetherError("E_INVALID", `a message of the client protocol has a malformed ${what}`);
}

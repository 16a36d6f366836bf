// Owns: the two messages of the channel "leases": are these leases idle for you too, and: these are.
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { KiB } from "../../base/units.ts";
import { LEASES_PER_COMMAND_MAX, type SeenLease } from "./command.ts";

export interface LeaseMessage {
  readonly kind: "ask" | "agree";
  readonly leases: readonly SeenLease[];
}

const MESSAGE_VERSION = 1;
const KINDS = ["ask", "agree"] as const;
const MESSAGE_BYTES_MAX = 64 * KiB;

export function encodeLeaseMessage({ kind, leases }: LeaseMessage): Uint8Array {
  return encode([MESSAGE_VERSION, KINDS.indexOf(kind), leases.flatMap(({ lease, renewals }) => [lease, renewals])]);
}

/** `undefined` for anything that is not a well-formed message of a version this node knows. */
export function parseLeaseMessage(payload: Uint8Array): LeaseMessage | undefined {
  try {
    const fields = decodeUntrusted(payload, MESSAGE_BYTES_MAX);
    if (!Array.isArray(fields)) return undefined;
    const [version, kindNumber, numbers] = fields as readonly unknown[];
    const kind = typeof kindNumber === "number" ? KINDS[kindNumber] : undefined;
    if (version !== MESSAGE_VERSION || kind === undefined || !isNumbers(numbers)) return undefined;
    const leases: SeenLease[] = [];
    for (let at = 0; at < numbers.length; at += 2) {
      leases.push({ lease: numbers[at] ?? 0, renewals: numbers[at + 1] ?? 0 });
    }
    return { kind, leases };
  } catch (error) {
    // Bad input of a peer is refused and counted by the caller, never thrown.
    if (error instanceof AetherError) return undefined;
    throw error;
  }
}

function isNumbers(value: unknown): value is readonly number[] {
  if (!Array.isArray(value) || value.length % 2 !== 0 || value.length > 2 * LEASES_PER_COMMAND_MAX) return false;
  return value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

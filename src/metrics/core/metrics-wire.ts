// Owns: the frame of the messages of the channel "metrics": a version, a kind, then the fields of that kind.
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";

const KINDS = ["report", "snapshot"] as const;
export type MetricsKind = (typeof KINDS)[number];

const VERSION = 1;
/** The largest is a snapshot with all that it may have. */
export const METRICS_BYTES_MAX = 2 * MiB;

export interface MetricsMessage {
  readonly kind: MetricsKind;
  readonly fields: readonly unknown[];
}

export function encodeMetrics(kind: MetricsKind, fields: readonly unknown[]): Uint8Array {
  return encode([VERSION, KINDS.indexOf(kind), ...fields]);
}

/** Undefined for what is no message of a version and a kind that this build knows. */
export function readMetrics(payload: Uint8Array): MetricsMessage | undefined {
  try {
    const message = decodeUntrusted(payload, METRICS_BYTES_MAX);
    if (!Array.isArray(message)) return undefined;
    const [version, tag, ...fields] = message as readonly unknown[];
    const kind = typeof tag === "number" ? KINDS[tag] : undefined;
    return version !== VERSION || kind === undefined ? undefined : { kind, fields };
  } catch (error) {
    return undefinedIfGarbled(error);
  }
}

/** Undefined for fields that no node can have sent; `read` throws for those. */
export function decodeMetrics<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    return undefinedIfGarbled(error);
  }
}

// By hand: a leader reads thousands of these fields every second, and a schema takes tens of times as long for them.

/** @throws AetherError E_INVALID, as all below */
export function listOf(value: unknown, lengthMax: number): readonly unknown[] {
  if (Array.isArray(value) && value.length <= lengthMax) return value as readonly unknown[];
  throw garbled();
}

export function textOf(value: unknown, lengthMax: number): string {
  if (typeof value === "string" && value !== "" && value.length <= lengthMax) return value;
  throw garbled();
}

/** Not negative, and no more than a number can be exact. */
export function amountOf(value: unknown): number {
  if (typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER) return value;
  throw garbled();
}

export function countOf(value: unknown): number {
  const amount = amountOf(value);
  if (Number.isInteger(amount)) return amount;
  throw garbled();
}

export function knownAmountOf(value: unknown): number | undefined {
  return value === null ? undefined : amountOf(value);
}

export function booleanOf(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw garbled();
}

export function garbled(): AetherError {
  return new AetherError("E_INVALID", "this is no message of metrics");
}

/** Bad input of a peer is refused and counted by who received it, never thrown. */
function undefinedIfGarbled(error: unknown): undefined {
  if (error instanceof AetherError) return undefined;
  throw error;
}

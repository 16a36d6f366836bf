// Owns: the frame of the messages of the channel "metrics": a version, a kind, then the fields of that kind.
import type { z } from "zod";
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

export function decodeMetrics<S extends z.ZodType, T>(
  schema: S, fields: readonly unknown[], of: (parsed: z.output<S>) => T,
): T | undefined {
  try {
    const parsed = schema.safeParse(fields);
    return parsed.success ? of(parsed.data) : undefined;
  } catch (error) {
    return undefinedIfGarbled(error);
  }
}

/** Bad input of a peer is refused and counted by who received it, never thrown. */
function undefinedIfGarbled(error: unknown): undefined {
  if (error instanceof AetherError) return undefined;
  throw error;
}

// Owns: how one node asks another what the instances of a slice said there, and its answer, as bytes.
// Does not own: who asks whom (host/cluster-log.ts), what is kept (recent-lines.ts).
import { z } from "zod";
import { decodeUntrusted, encodeLarge } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { MiB } from "../../base/units.ts";
import { LINES_ANSWER_MAX, type NumberedLine } from "./recent-lines.ts";

export type LogMessage =
  | { readonly kind: "ask"; readonly id: number; readonly slice: string; readonly linesMax: number }
  | LogReply;

export interface LogReply {
  readonly kind: "lines";
  /** Of the question. */
  readonly id: number;
  /** Undefined when the node keeps nothing of that slice. */
  readonly lines: readonly NumberedLine[] | undefined;
}

/** A page of lines is 1 MiB of text; a character takes three bytes at most. */
const MESSAGE_BYTES_MAX = 4 * MiB;

const id = z.int().min(0);
const lineSchema = z.strictObject({
  atMs: z.number(),
  level: z.enum(["debug", "info", "warn", "error"]),
  text: z.string(),
  fields: z.record(z.string(), z.unknown()).exactOptional(),
  instance: z.string(),
  number: z.int().min(0),
});
const messageSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("ask"), id, slice: z.string().max(256), linesMax: z.int().min(1).max(LINES_ANSWER_MAX),
  }),
  z.strictObject({ kind: z.literal("lines"), id, lines: z.array(lineSchema).max(LINES_ANSWER_MAX).optional() }),
]);

export function encodeLogMessage(message: LogMessage): Uint8Array {
  return encodeLarge(message);
}

/** Undefined for what is no such message. */
export function parseLogMessage(bytes: Uint8Array): LogMessage | undefined {
  try {
    const { data } = messageSchema.safeParse(decodeUntrusted(bytes, MESSAGE_BYTES_MAX));
    return data?.kind === "lines" ? { ...data, lines: data.lines } : data;
  } catch (error) {
    if (error instanceof AetherError) return undefined;
    throw error;
  }
}

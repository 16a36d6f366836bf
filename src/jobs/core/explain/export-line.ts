// Owns: the lines of an exported job: JSON, one for each row and event, with the bytes as they are stored beside what
// they say. Does not own: their order and whether they agree (job-check.ts), where they come from (job-export.ts).
//
// The bytes are what counts: what stands beside them is made of them again when an export is checked.
import { z } from "zod";
import { decode, encode } from "../../../base/codec.ts";
import { sha256Bytes } from "../../../base/digest.ts";
import { AetherError } from "../../../base/errors.ts";
import { jsonText } from "../../../base/json-text.ts";
import type { Digest } from "../../../base/ids.ts";
import { checkShape } from "../../../base/message-shape.ts";
import { digestSchema } from "../../../base/stored-row.ts";
import { GiB, MiB } from "../../../base/units.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import { readEvent } from "../log/upcast.ts";

/** Format 1 has no payloads. */
export const EXPORT_FORMAT = 2;
export const FORMAT_WITH_PAYLOADS = 2;
/** A row has 512 KiB at most; as text beside its bytes that is some MiB. */
export const EXPORT_LINE_BYTES_MAX = 8 * MiB;
/** Payloads are most of it: several times what a store has by default. */
export const EXPORT_BYTES_MAX = 64 * GiB;
const FIRST = "aether-job-export";

/** Rows of a job of which there is one each. */
export const SINGLE_ROWS = ["job", "head", "spec", "result"] as const;
export type SingleRow = (typeof SINGLE_ROWS)[number];

export interface ExportStart {
  readonly kind: typeof FIRST;
  readonly format: number;
  readonly job: string;
  /** What effect ids are made of; absent where no job was run yet. */
  readonly clusterUid?: string | undefined;
  /** The store's revision that the export is of. */
  readonly revision: number;
  /** Version of the node that made it. */
  readonly createdBy: string;
}

export type ExportRecord =
  | ExportStart
  | { readonly kind: SingleRow; readonly bytes: Uint8Array }
  | {
    readonly kind: "event";
    readonly run: number;
    readonly seq: number;
    /** Of the first event of an append: the link before it, as it is stored. */
    readonly prev?: string | undefined;
    readonly link: string;
    readonly bytes: Uint8Array;
  }
  /** The row of a run that the job continued after; its events and calls follow. */
  | { readonly kind: "run"; readonly run: number; readonly bytes: Uint8Array }
  /** A row of events that cannot be read. */
  | { readonly kind: "page"; readonly run: number; readonly seq: number; readonly bytes: Uint8Array }
  /**
   * A chunk of the log, see log/chunk.ts: the link before its first event and those of its events, as its own bytes
   * give them. None where it cannot be read.
   */
  | {
    readonly kind: "chunk";
    readonly run: number;
    readonly seq: number;
    readonly prev?: string | undefined;
    readonly links: readonly string[];
  }
  /** `effect` is what the row's key says. Of the run whose events came last. */
  | { readonly kind: "tool"; readonly effect: string; readonly bytes: Uint8Array }
  /** A part of a value that is stored apart, in their order. After all runs. */
  | { readonly kind: "payload"; readonly digest: Digest; readonly part: number; readonly bytes: Uint8Array }
  /** `digest` is over all lines before it. */
  | { readonly kind: "end"; readonly lines: number; readonly digest: string };

export function firstLine(start: Omit<ExportStart, "kind" | "format">): ExportStart {
  return { kind: FIRST, format: EXPORT_FORMAT, ...start };
}

type Shown = Exclude<Extract<ExportRecord, { readonly bytes: Uint8Array }>, { readonly kind: "payload" }>;

/** One line, without its end. */
export function lineOf(record: ExportRecord): string {
  if (!("bytes" in record)) return JSON.stringify(record);
  const { bytes, ...place } = record;
  const shown = record.kind === "payload" ? {} : shownOf(record);
  return jsonText({ ...place, ...shown, bytes: Buffer.from(bytes).toString("base64") });
}

/** The bytes of a row in an export. */
export function rowBytes(value: unknown): Uint8Array {
  return encode(value);
}

/** @throws AetherError E_DATA_CORRUPT for what no node writes */
export function rowValue(bytes: Uint8Array): unknown {
  try {
    checkShape(bytes);
    return decode(bytes, EXPORT_LINE_BYTES_MAX);
  } catch (error) {
    throw new AetherError("E_DATA_CORRUPT", "its bytes are not those of a row", { cause: error });
  }
}

/** The digest of the lines so far. */
export class LinesDigest {
  lines = 0;
  private digest: Uint8Array = new Uint8Array(32);

  add(line: string): void {
    this.lines += 1;
    this.digest = sha256Bytes(this.digest, line);
  }

  get text(): string {
    return Buffer.from(this.digest).toString("hex");
  }
}

export interface ReadLine {
  readonly record: ExportRecord;
  /** False when what stands beside the bytes is not what they say. */
  readonly isAsShown: boolean;
}

/** @throws AetherError E_INVALID for what is no line of an export, E_VERSION for one of a later format */
export function readLine(text: string): ReadLine {
  const line = parseJson(text);
  const format = z.object({ kind: z.literal(FIRST), format: z.number() }).safeParse(line);
  if (format.success && (format.data.format > EXPORT_FORMAT || format.data.format < 1)) {
    throw new AetherError("E_VERSION", `this is an export of format ${format.data.format}, and this version reads ` +
      `formats up to ${EXPORT_FORMAT}: use the version that made it`);
  }
  const parsed = recordSchema.safeParse(line);
  if (!parsed.success) throw new AetherError("E_INVALID", "it is not what aether job export writes");
  return { record: parsed.data, isAsShown: isSameData(JSON.parse(lineOf(parsed.data)), line) };
}

const place = { run: z.int().min(0), seq: z.int().min(0) };
const bytes = z.base64().transform((text): Uint8Array => Buffer.from(text, "base64"));
const hex = z.string().regex(/^[0-9a-f]{64}$/);
const recordSchema: z.ZodType<ExportRecord> = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal(FIRST), format: z.number(), job: z.string(), clusterUid: z.string().optional(),
    revision: z.number(), createdBy: z.string(),
  }),
  z.object({ kind: z.enum(SINGLE_ROWS), bytes }),
  z.object({ kind: z.literal("event"), ...place, prev: hex.optional(), link: hex, bytes }),
  z.object({ kind: z.literal("run"), run: place.run, bytes }),
  z.object({ kind: z.literal("page"), ...place, bytes }),
  z.object({ kind: z.literal("chunk"), ...place, prev: hex.optional(), links: z.array(hex) }),
  z.object({ kind: z.literal("tool"), effect: z.string(), bytes }),
  z.object({ kind: z.literal("payload"), digest: digestSchema, part: z.int().min(0), bytes }),
  z.object({ kind: z.literal("end"), lines: z.int(), digest: z.string() }),
]);

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // ignored: what it is instead is said where it is parsed
    return undefined;
  }
}

/** What the bytes say, for people; `unreadable` when they say nothing. */
function shownOf(record: Shown): Readonly<Record<string, unknown>> {
  try {
    if (record.kind !== "event") return { value: rowValue(record.bytes) };
    checkShape(record.bytes);
    const { event: { type, ...data }, atMs, epoch } = readEvent(record.bytes);
    return { type, atMs, epoch, data };
  } catch (error) {
    return { unreadable: error instanceof AetherError ? error.message : "it cannot be decoded" };
  }
}

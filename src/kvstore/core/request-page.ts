// Owns: what is remembered of one request, and the bytes of a page of them.
// Does not own: which requests are remembered (request-log.ts).
import { unreachable } from "../../base/assert.ts";
import { encode } from "../../base/codec.ts";
import type { KeyText } from "./key.ts";
import type { StoredOpResult } from "./state-machine.ts";
import { decodeRow } from "./stored-entry.ts";
import { numberOf, parseRow } from "./system-rows.ts";

/** Requests of one session whose results are kept. */
export const SESSION_WINDOW_MAX = 1_024;
/** Entries that the gets of one request found, together, which are kept for a repetition. */
export const REQUEST_READ_BYTES_MAX = 1_024;
export const PAGE_PLACES = 64;
export const PAGES_PER_SESSION = SESSION_WINDOW_MAX / PAGE_PLACES;

/** The latest request of a place. */
export interface Place {
  readonly id: number;
  readonly succeeded: boolean;
  readonly revision: number;
  /** Undefined when that was too much to keep. */
  readonly results: readonly StoredOpResult[] | undefined;
  readonly readBytes: number;
  /** Of what was asked (request-content.ts). Undefined when a build wrote it that kept none. */
  readonly content: number | undefined;
}

// How one operation is remembered: these, or [key, row or null] for a get.
const PUT = 0;
const DELETED = 1;
const NOT_DELETED = 2;

export const PUT_DONE: StoredOpResult = { kind: "put" };
/** What most requests are answered: one object for all of them. */
export const ONE_PUT: readonly StoredOpResult[] = [PUT_DONE];

/** What is kept of the results of a request. */
export function rememberResults(results: readonly StoredOpResult[]): Pick<Place, "results" | "readBytes"> {
  const readBytes = results === ONE_PUT ? 0 : bytesRead(results);
  return readBytes > REQUEST_READ_BYTES_MAX ? { results: undefined, readBytes: 0 } : { results, readBytes };
}

export function encodePage(places: readonly (Place | undefined)[]): Uint8Array {
  return encode(Array.from(places, (place) => (place === undefined ? null : fieldsOf(place))));
}

/** @throws AetherError E_DATA_CORRUPT */
export function decodePage(row: Uint8Array): (Place | undefined)[] {
  return parseRow(row).map((fields) => (Array.isArray(fields) ? placeFrom(fields) : undefined));
}

/** The fifth field is passed over by builds that keep no content. Theirs have two, three or four. */
function fieldsOf({ id, succeeded, revision, results, content }: Place): readonly unknown[] {
  return [id, revision, succeeded, results === undefined ? null : results.map(opFields), content ?? null];
}

function placeFrom(fields: readonly unknown[]): Place {
  const [id, revision, succeeded, kept, sum] = fields;
  const content = typeof sum === "number" ? sum : undefined;
  const request = { id: numberOf(id), revision: numberOf(revision), content };
  if (fields.length === 2) return { ...request, succeeded: true, results: ONE_PUT, readBytes: 0 };
  if (!Array.isArray(kept)) return { ...request, succeeded: succeeded === true, results: undefined, readBytes: 0 };
  const results = kept.length === 1 && kept[0] === PUT ? ONE_PUT : kept.map(opFrom);
  return { ...request, succeeded: succeeded === true, results, readBytes: bytesRead(results) };
}

function bytesRead(results: readonly StoredOpResult[]): number {
  let bytes = 0;
  for (const result of results) {
    if (result.kind === "get") bytes += result.key.length + (result.entry?.block.length ?? 0);
  }
  return bytes;
}

function opFields(result: StoredOpResult): unknown {
  switch (result.kind) {
    case "put":
      return PUT;
    case "delete":
      return result.deleted ? DELETED : NOT_DELETED;
    case "get":
      return [result.key, result.entry === undefined ? null : result.entry.row.value];
    default:
      return unreachable(result);
  }
}

function opFrom(kept: unknown): StoredOpResult {
  if (kept === PUT) return PUT_DONE;
  if (!Array.isArray(kept)) return { kind: "delete", deleted: kept === DELETED };
  const [key, row] = kept as readonly unknown[];
  const text = String(key) as KeyText;
  return { kind: "get", key: text, entry: row instanceof Uint8Array ? decodeRow(Buffer.from(text), row) : undefined };
}

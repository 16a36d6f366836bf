// Owns: what sessions remember of their requests, so that a write sent twice is applied once and answered twice.
// Does not own: sessions, which are leases (lease-table.ts).
//
// One small row per session and request number modulo the window. A row holds the latest request of its place, so a
// number is refused exactly when a later one has taken its place: then it may have been applied and forgotten.
import { unreachable } from "../../base/assert.ts";
import type { KeyText } from "./key.ts";
import type { LeaseTable } from "./lease-table.ts";
import type { RequestRef } from "./schema.ts";
import type { DoneResult, RefusedCommand, StoredOpResult } from "./state-machine.ts";
import type { StateRows } from "./state-rows.ts";
import { decodeRow, type StoredEntry } from "./stored-entry.ts";
import { numberOf, parseRow, requestRow, type LeaseRow } from "./system-rows.ts";

/** Requests of one session whose results are kept. */
export const SESSION_WINDOW_MAX = 1_024;
/** Entries that the gets of one request found, together, which are kept for a repetition. */
export const REQUEST_READ_BYTES_MAX = 1_024;

/** The session's row is written once for so many places of the window. */
const REACH_STEP = 64;

// How one operation is remembered: these, or [key, row or null] for a get.
const PUT = 0;
const DELETED = 1;
const NOT_DELETED = 2;

/** A request that nobody has seen: its session, and its row with what that holds now. */
export interface NewRequest {
  readonly kind: "new";
  readonly session: LeaseRow;
  readonly key: KeyText;
  readonly before: StoredEntry | undefined;
}

export type SeenRequest =
  | NewRequest
  | { readonly kind: "seen"; readonly result: DoneResult | RefusedCommand };

export class RequestLog {
  private readonly rows: StateRows;
  private readonly leases: LeaseTable;

  constructor(rows: StateRows, leases: LeaseTable) {
    this.rows = rows;
    this.leases = leases;
  }

  /** Whether the request is to be applied, or what it is answered instead. */
  find(request: RequestRef): SeenRequest {
    const session = this.leases.find(request.session);
    if (session === undefined) return seen(unknownSession(request));
    if (!session.requests) return seen(notSession(request));
    const key = requestRow(request.session, placeOf(request));
    const before = this.rows.read(key);
    if (before === undefined) return { kind: "new", session, key, before };
    const [id, ...fields] = parseRow(before.value);
    const found = numberOf(id);
    if (found < request.id) return { kind: "new", session, key, before };
    return seen(found === request.id ? recall(request, fields) : tooOld(request, found));
  }

  /** `found` is what `find` gave before the request was applied. */
  remember(request: RequestRef, { session, key, before }: NewRequest, result: DoneResult): void {
    const { succeeded, revision, results } = result;
    const place = placeOf(request);
    const kept = bytesRead(results) <= REQUEST_READ_BYTES_MAX ? [results.map(rememberOp)] : [];
    this.rows.writeOwn(key, [request.id, succeeded, revision, ...kept], before);
    if (place < session.reach) return;
    // Read again: the request itself may have attached keys to its session.
    const row = this.leases.find(request.session) ?? session;
    this.leases.extendReach(request.session, row, (Math.floor(place / REACH_STEP) + 1) * REACH_STEP);
  }
}

function placeOf({ id }: RequestRef): number {
  return (id - 1) % SESSION_WINDOW_MAX;
}

function bytesRead(results: readonly StoredOpResult[]): number {
  let bytes = 0;
  for (const result of results) {
    if (result.kind === "get") bytes += result.key.length + (result.entry?.block.length ?? 0);
  }
  return bytes;
}

function rememberOp(result: StoredOpResult): unknown {
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

function recallOp(kept: unknown): StoredOpResult {
  if (kept === PUT) return { kind: "put" };
  if (!Array.isArray(kept)) return { kind: "delete", deleted: kept === DELETED };
  const [key, row] = kept as readonly unknown[];
  const text = String(key) as KeyText;
  return { kind: "get", key: text, entry: row instanceof Uint8Array ? decodeRow(Buffer.from(text), row) : undefined };
}

function recall(request: RequestRef, [succeeded, revision, kept]: readonly unknown[]): DoneResult | RefusedCommand {
  const at = numberOf(revision);
  if (!Array.isArray(kept)) return readForgotten(request, at);
  return { kind: "done", succeeded: succeeded === true, revision: at, results: kept.map(recallOp), changes: [] };
}

function seen(result: DoneResult | RefusedCommand): SeenRequest {
  return { kind: "seen", result };
}

function readForgotten({ session, id }: RequestRef, revision: number): RefusedCommand {
  const reason =
    `request ${id} of session ${session} was applied before, at revision ${revision}, ` +
    "and what it read then is not kept: read it again";
  return { kind: "refused", code: "E_CONFLICT", reason, outcome: "unknown", details: { session, id, revision } };
}

function tooOld({ session, id }: RequestRef, latest: number): RefusedCommand {
  const reason =
    `session ${session} has gone on to request ${latest} and does not know any more whether request ${id} ` +
    "was applied: read, then decide anew";
  return { kind: "refused", code: "E_CONFLICT", reason, outcome: "unknown", details: { session, id, latest } };
}

function unknownSession({ session, id }: RequestRef): RefusedCommand {
  const reason =
    `session ${session} has ended, so it is not known whether request ${id} was applied before: ` +
    "read, then decide anew in a new session";
  return { kind: "refused", code: "E_CONFLICT", reason, outcome: "unknown", details: { session, id } };
}

function notSession({ session, id }: RequestRef): RefusedCommand {
  const reason = `lease ${session} keeps no requests: grant one with requests to name requests`;
  return { kind: "refused", code: "E_INVALID", reason, outcome: "not-applied", details: { session, id } };
}

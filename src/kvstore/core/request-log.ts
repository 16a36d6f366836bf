// Owns: what sessions remember of their requests, so that a write sent twice is applied once and answered twice.
// Does not own: sessions, which are leases (lease-table.ts), the bytes of a page (request-page.ts).
//
// A request has a place: its number modulo the window. A place holds the latest request that took it, so a number is
// refused exactly when a later one has taken its place: then it may have been applied and forgotten.
// Places are kept in pages. A page is written into its row when a checkpoint is due, not with each request: the hash
// and the weight of the state follow each request, and never the rows, which replicas write at different times.
import type { KeyText } from "./key.ts";
import type { LeaseTable } from "./lease-table.ts";
import {
  decodePage, encodePage, PAGE_PLACES, PAGES_PER_SESSION, rememberResults, type Place, SESSION_WINDOW_MAX,
} from "./request-page.ts";
import type { LeaseId, RequestRef } from "./schema.ts";
import type { DoneResult, RefusedCommand } from "./state-machine.ts";
import { ENTRY_OVERHEAD_BYTES, type StateRows } from "./state-rows.ts";
import { requestPageRow, type LeaseRow } from "./system-rows.ts";

/** Pages that differ from their rows: what a checkpoint has to write first, about 1 ms. */
const UNSAVED_PAGES_MAX = 256;
/** Pages in memory beside those, about 8 KiB each. */
const SAVED_PAGES_MAX = 1_024;
/** What a page weighs in the store, beside what its requests read. */
export const PAGE_WEIGHT_BYTES = PAGE_PLACES * 24 + ENTRY_OVERHEAD_BYTES;

type Page = (Place | undefined)[];

/** A request that nobody has seen: its session, and the page with its place there. */
export interface NewRequest {
  readonly kind: "new";
  readonly content: number;
  readonly session: LeaseRow;
  readonly page: Page;
}

export type SeenRequest =
  | NewRequest
  | { readonly kind: "seen"; readonly result: DoneResult | RefusedCommand };

export class RequestLog {
  private readonly rows: StateRows;
  private readonly leases: LeaseTable;
  /** By session and page, oldest first; a page is in one of them. */
  private readonly unsaved = new Map<number, Page>();
  private readonly saved = new Map<number, Page>();

  constructor(rows: StateRows, leases: LeaseTable) {
    this.rows = rows;
    this.leases = leases;
  }

  /**
   * Whether the request is to be applied, or what it is answered instead; `content` is of what it asks for. The answer
   * alone depends on it, never the state: builds that do not compare it stay equal.
   */
  find(request: RequestRef, content: number): SeenRequest {
    const session = this.leases.find(request.session);
    if (session === undefined) return seen(unknownSession(request));
    if (!session.requests) return seen(notSession(request));
    const place = placeOf(request);
    const page = this.page(keyOf(request.session, Math.floor(place / PAGE_PLACES)));
    const found = page[place % PAGE_PLACES];
    if (found === undefined || found.id < request.id) return { kind: "new", content, session, page };
    if (found.id > request.id) return seen(tooOld(request, found.id));
    const isSame = found.content === undefined || found.content === content;
    return seen(isSame ? recall(request, found) : otherContent(request, found.revision));
  }

  /** `page` is what `find` gave before the request was applied. */
  remember(request: RequestRef, { content, session, page }: NewRequest, result: DoneResult): void {
    const { succeeded, revision } = result;
    const place = placeOf(request);
    const { results, readBytes } = rememberResults(result.results);
    const before = page[place % PAGE_PLACES];
    this.rows.note(checksumOf(request, result), readBytes - (before?.readBytes ?? 0));
    page[place % PAGE_PLACES] = { id: request.id, succeeded, revision, results, readBytes, content };
    this.markUnsaved(keyOf(request.session, Math.floor(place / PAGE_PLACES)), page);
    if (place < session.reach) return;
    // Read again: the request itself may have attached keys to its session.
    const row = this.leases.find(request.session) ?? session;
    const pages = Math.floor(place / PAGE_PLACES) + 1;
    this.rows.note(0, (pages - row.reach / PAGE_PLACES) * PAGE_WEIGHT_BYTES);
    this.leases.extendReach(request.session, row, pages * PAGE_PLACES);
  }

  /** Before a checkpoint: from here on the rows have everything. */
  save(): void {
    for (const [key, page] of this.unsaved) this.write(key, page);
    this.unsaved.clear();
  }

  /** The session ends, and everything that it remembers goes. */
  end(session: LeaseId, { reach }: LeaseRow): void {
    for (let number = 0; number < reach / PAGE_PLACES; number++) {
      const key = keyOf(session, number);
      const readBytes = this.page(key).reduce((bytes, place) => bytes + (place?.readBytes ?? 0), 0);
      this.rows.note(session, -readBytes - PAGE_WEIGHT_BYTES);
      this.rows.removeUncounted(rowOf(key));
      this.unsaved.delete(key);
      this.saved.delete(key);
    }
  }

  private page(key: number): Page {
    const known = this.unsaved.get(key) ?? this.saved.get(key);
    if (known !== undefined) return known;
    const row = this.rows.readOwn(rowOf(key));
    const page = row === undefined ? [] : decodePage(row);
    this.keep(key, page);
    return page;
  }

  private markUnsaved(key: number, page: Page): void {
    if (this.unsaved.has(key)) return;
    this.saved.delete(key);
    this.unsaved.set(key, page);
    if (this.unsaved.size <= UNSAVED_PAGES_MAX) return;
    const [oldest] = this.unsaved;
    if (oldest === undefined) return;
    this.unsaved.delete(oldest[0]);
    this.write(...oldest);
  }

  private write(key: number, page: Page): void {
    this.rows.writeUncounted(rowOf(key), encodePage(page));
    this.keep(key, page);
  }

  private keep(key: number, page: Page): void {
    this.saved.set(key, page);
    if (this.saved.size <= SAVED_PAGES_MAX) return;
    for (const oldest of this.saved.keys()) {
      this.saved.delete(oldest);
      return;
    }
  }
}

function placeOf({ id }: RequestRef): number {
  return (id - 1) % SESSION_WINDOW_MAX;
}

function keyOf(session: LeaseId, page: number): number {
  return session * PAGES_PER_SESSION + page;
}

function rowOf(key: number): KeyText {
  return requestPageRow(Math.floor(key / PAGES_PER_SESSION), key % PAGES_PER_SESSION);
}

/** What the hash of the state says of a request: which it was and what it was answered, but for what it read. */
function checksumOf({ session, id }: RequestRef, { succeeded, revision }: DoneResult): number {
  let hash = succeeded ? 1 : 2;
  hash = mix(hash, session);
  hash = mix(hash, id);
  hash = mix(hash, revision);
  return hash >>> 0;
}

function mix(hash: number, number: number): number {
  const low = Math.imul(hash ^ (number >>> 0), 0x9e3779b1);
  return Math.imul(low ^ Math.floor(number / 2 ** 32) ^ (low >>> 15), 0x85ebca6b);
}

function recall(request: RequestRef, { succeeded, revision, results }: Place): DoneResult | RefusedCommand {
  if (results === undefined) return readForgotten(request, revision);
  return { kind: "done", succeeded, revision, results, changes: [] };
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

function otherContent({ session, id }: RequestRef, revision: number): RefusedCommand {
  const reason =
    `request ${id} of session ${session} was another write, applied at revision ${revision}, and this one was not: ` +
    "each write takes a number of its own";
  return { kind: "refused", code: "E_CONFLICT", reason, outcome: "not-applied", details: { session, id, revision } };
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

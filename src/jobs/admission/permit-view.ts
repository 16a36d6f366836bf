// Owns: the places of limits as this node sees them: those that running jobs and calls have, and those that its own
// claims and calls are about to take. Does not own: the limits (core/flow/permits.ts), and that a place is given once
// (who takes it compares).
import type { JobId } from "../../base/ids.ts";
import { RowView, type RowViewEnv } from "../../cluster/row-view.ts";
import type { PermitPlace } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { permitKey } from "../core/life/job-keys.ts";
import { limitsOf, TakenPlaces, type JobLimit, type PermitLimit, type PermitLimits } from "../core/flow/permits.ts";
import { parsePermitRow, type PermitRow, type QueueRow } from "../core/rows.ts";

type Limited = Pick<QueueRow, "agent" | "tenant" | "agentMax">;

export interface SeenPermit {
  readonly key: KeyText;
  readonly value: PermitRow;
  readonly modRevision: number;
}

export class PermitView {
  private readonly view: RowView<PermitRow>;
  private readonly limits: PermitLimits;
  private readonly taken = new TakenPlaces();
  /** Places that this node's claims want, by their keys; with the revision at which one of them was given. */
  private readonly claims = new Map<KeyText, { readonly place: PermitPlace; givenAt?: number }>();

  constructor(env: RowViewEnv, kv: Kv, limits: PermitLimits) {
    this.limits = limits;
    this.view = new RowView(env, kv, prefixOf({ kind: "job-permits" }), (key, value) =>
      key.kind === "job-permit" ? parsePermitRow(value) : undefined);
    this.view.subscribe((changed) => this.take(changed));
  }

  open(): void {
    this.view.open();
  }

  async close(): Promise<void> {
    await this.view.close();
  }

  /** Called when a place may be free that was taken. */
  onChange(listener: () => void): void {
    this.view.subscribe(listener);
  }

  /** What keeps the job from running, if anything; it is the same for all nodes, but for how much they have seen. */
  fullLimit(job: Limited): { readonly limit: JobLimit; readonly running: number } | undefined {
    const limits = limitsOf(job, this.limits);
    const limit = limits.find((one) => this.taken.isFull(one));
    return limit && { limit, running: this.taken.count(limit) };
  }

  /** Whether there is any limit that the job has to keep. */
  isLimited(job: Limited): boolean {
    return limitsOf(job, this.limits).length > 0;
  }

  hasRoom(job: Limited): boolean {
    return limitsOf(job, this.limits).every((limit) => !this.taken.isFull(limit));
  }

  /** Places for a claim, kept until it is settled; undefined when there are none. */
  reserve(job: JobId, limited: Limited): readonly PermitPlace[] | undefined {
    return this.reserveAll(limitsOf(limited, this.limits), job);
  }

  /** A place of one limit, kept until it is settled; undefined when there is none. */
  reserveOne(limit: PermitLimit, holder: string): PermitPlace | undefined {
    return this.reserveAll([limit], holder)?.[0];
  }

  /** The places of a limit that are taken, as far as this node sees. */
  seenOf({ scope, name }: PermitLimit): readonly SeenPermit[] {
    const prefix = permitKey({ scope, name, slot: 0 }).replace(/[^/]+$/, "");
    return [...this.view.rows()].flatMap(([key, { value, modRevision }]) =>
      key.startsWith(prefix) ? [{ key, value, modRevision }] : []);
  }

  private reserveAll(limits: readonly PermitLimit[], holder: string): readonly PermitPlace[] | undefined {
    const places = this.taken.choose(limits, holder);
    for (const place of places ?? []) {
      this.claims.set(permitKey(place), { place });
      this.taken.take(place);
    }
    return places;
  }

  /** The claim has ended; `givenAt` is the revision of the store at which it got its places, if it did. */
  settle(places: readonly PermitPlace[], givenAt?: number): void {
    for (const place of places) {
      const key = permitKey(place);
      // What the view does not show yet would look free.
      if (givenAt !== undefined && givenAt > this.view.revision) this.claims.set(key, { place, givenAt });
      else this.claims.delete(key);
      this.look(key, place);
    }
  }

  private take(changed: readonly KeyText[]): void {
    for (const text of changed) {
      const key = knownKey(text);
      if (key?.kind === "job-permit") this.look(text, { scope: key.scope, name: key.name, slot: key.slot });
    }
    for (const [text, { place, givenAt }] of this.claims) {
      if (givenAt === undefined || givenAt > this.view.revision) continue;
      this.claims.delete(text);
      this.look(text, place);
    }
  }

  /** A row that does not parse takes its place too. */
  private look(text: KeyText, place: PermitPlace): void {
    const isTaken = this.view.get(text) !== undefined || this.view.damaged.has(text) || this.claims.has(text);
    if (isTaken) this.taken.take(place);
    else this.taken.free(place);
  }
}

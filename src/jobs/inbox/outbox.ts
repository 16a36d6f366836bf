// Owns: telling other jobs what this cluster's jobs have for them: the end of a child to its parent, the end of a
// parent to its children. The node on which it came up tells it at once; the leader looks for what was left over.
// JOB14  A job's end reaches its parent once, because its row goes with the entry in the parent's inbox.
// Does not own: what is to be told (core/life/children.ts).
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { JobId } from "../../base/ids.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { JobRef } from "../../kvstore/core/job-key.ts";
import { knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, Txn } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { cancelSeen } from "../core/flow/seen.ts";
import type { InboxEntry } from "../core/flow/inbox-entry.ts";
import { refOf } from "../core/ids.ts";
import { childEntry, spentOfParent } from "../core/life/children.ts";
import { decideInbox, type InboxView } from "../core/life/decide-inbox.ts";
import { hasEnded } from "../core/life/job-life.ts";
import { headKey, resultKey, rowKey, specKey } from "../core/life/job-keys.ts";
import { naming } from "../core/payloads/blob.ts";
import {
  parseJobHead, parseJobResult, parseJobRow, parseJobSpec, parseOutboxRow, type OutboxRow,
} from "../core/rows.ts";
import { inboxViewOf, readInboxView } from "./inbox-view.ts";
import type { InboxWriter } from "./inbox-writer.ts";

export interface OutboxPorts {
  readonly kv: Pick<Kv, "get" | "list" | "transact">;
  readonly inbox: Pick<InboxWriter, "put">;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly onFatal: (error: unknown) => void;
}

/** Between looks of the leader for what the nodes did not tell that it came up on. */
const SWEEP_EVERY_MS = SECOND_MS;
/** Rows of one look, and what is told at once. */
const ROWS_PER_LOOK = 128;
const TOLD_AT_ONCE = 32;
/** The row of a job changes with its phases only: who loses as often as this has met something else. */
const TRIES_MAX = 20;

interface OutboxEntry {
  readonly key: KeyText;
  readonly modRevision: number;
  readonly ref: JobRef;
  readonly row: OutboxRow;
}

export class Outbox {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: OutboxPorts;
  private readonly scope: TaskScope;

  constructor({ clock, telemetry }: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: OutboxPorts) {
    this.clock = clock;
    this.log = telemetry.log;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.scope.spawn("job outboxes", (signal) => doRounds(this.clock, {
      firstAfterMs: SWEEP_EVERY_MS,
      everyMs: SWEEP_EVERY_MS,
      work: () => this.sweep(signal),
      onFailure: (error) => this.noteFailure(error),
    }, signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  /** The job has something for others; what cannot be told now the leader tells later. */
  tell(ref: JobRef): void {
    if (this.scope.signal.aborted) return;
    this.scope.spawn("job outbox", async (signal) => {
      try {
        const { entries } = await this.ports.kv.list(
          { prefix: prefixOf({ kind: "job-outboxes", ...ref }) }, { consistency: "local", signal },
        );
        for (const entry of entries) await this.tellEntry(entry, signal);
      } catch (error) {
        if (!signal.aborted) this.noteFailure(toAetherError(error));
      }
    });
  }

  private async sweep(signal: AbortSignal): Promise<void> {
    if (this.ports.leadership.fence() === undefined) return;
    const query = { prefix: prefixOf({ kind: "job-outboxes" }), limit: ROWS_PER_LOOK };
    for (let after: KeyText | undefined; ;) {
      const page = await this.ports.kv.list(
        { ...query, ...(after === undefined ? {} : { after }) }, { consistency: "local", signal },
      );
      await inGroups(page.entries, (entry) => this.tryEntry(entry, signal));
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return;
    }
  }

  /** One that cannot be told must not stop the others. */
  private async tryEntry(entry: KvEntry, signal: AbortSignal): Promise<void> {
    try {
      await this.tellEntry(entry, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.noteFailure(toAetherError(error));
    }
  }

  private async tellEntry({ key, modRevision, value }: KvEntry, signal: AbortSignal): Promise<void> {
    const parsed = knownKey(key);
    if (parsed?.kind !== "job-outbox") return;
    const entry = { key, modRevision, ref: refOf(parsed.job), row: parseOutboxRow(value) };
    await inGroups(entry.row.cancel ?? [], (job) => this.cancel(job, entry.ref, signal));
    if (entry.row.ended === undefined) await this.forget(entry, signal);
    else await this.tellEnd(entry, entry.row.ended, signal);
  }

  /** Asked for again it is the same cancel. */
  private async cancel(job: JobId, by: JobRef, signal: AbortSignal): Promise<void> {
    const entry: InboxEntry = { kind: "cancel", principal: `job ${by.job}` };
    try {
      await this.ports.inbox.put(refOf(job), { entry, seen: { digest: cancelSeen(), value: null } }, { signal });
    } catch (thrown) {
      const { code } = toAetherError(thrown);
      // It has ended by itself.
      if (code !== "E_CONFLICT" && code !== "E_NOT_FOUND") throw thrown;
    }
  }

  private async tellEnd(
    entry: OutboxEntry, { job, call }: NonNullable<OutboxRow["ended"]>, signal: AbortSignal,
  ): Promise<void> {
    const parent = refOf(job);
    const told = await this.endOf(entry.ref, call, signal);
    let view = await readInboxView(this.ports.kv, parent, { consistency: "local", signal });
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      // Nobody waits for it any more.
      if (view === undefined || hasEnded(view.row.status)) return await this.forget(entry, signal);
      const left: { readonly view: InboxView | undefined } | undefined = await this.put(entry, view, told, signal);
      if (left === undefined) return;
      ({ view } = left);
    }
    throw new AetherError("E_OVERLOADED", `job ${job} changes too fast to be told of the end of its child`);
  }

  /** The parent as it is when it was not told; undefined when it was, now or before. */
  private async put(
    { key, modRevision }: OutboxEntry, view: InboxView, told: InboxEntry, signal: AbortSignal,
  ): Promise<{ readonly view: InboxView | undefined } | undefined> {
    const decision = decideInbox(view, [{ entry: told }], this.clock.wallMs());
    if (decision.kind === "refused") throw new AetherError(decision.code, decision.reason);
    const { compare, then, else: reads } = decision.txn;
    // The parent needs what the child has answered from now on.
    const blob = told.kind === "child-completed" ? told.blob : undefined;
    const named = naming(view.ref, blob === undefined ? [] : [blob], this.clock.wallMs());
    const txn: Txn = {
      compare: [unchanged(key, modRevision), ...compare, ...named.compare],
      then: [{ kind: "delete", key }, ...then, ...named.then],
      else: [{ kind: "get", key }, ...reads],
    };
    const { succeeded, results: [own, ...rest] } = await this.ports.kv.transact(txn, { signal });
    const isLeft = own?.kind === "get" && own.entry?.modRevision === modRevision;
    return succeeded || !isLeft ? undefined : { view: inboxViewOf(view.ref, rest) };
  }

  private async endOf(
    ref: JobRef, call: NonNullable<OutboxRow["ended"]>["call"], signal: AbortSignal,
  ): Promise<InboxEntry> {
    const options = { consistency: "local", signal } as const;
    const [row, result, spec, head] = await Promise.all(
      [rowKey(ref), resultKey(ref), specKey(ref), headKey(ref)].map((key) => this.ports.kv.get(key, options)),
    );
    const { agent } = parseJobRow(row?.entry?.value);
    const spent = spentOfParent(parseJobSpec(spec?.entry?.value), parseJobHead(head?.entry?.value).account);
    return childEntry({ job: ref.job, agent, call, spent }, parseJobResult(result?.entry?.value));
  }

  private async forget({ key, modRevision }: OutboxEntry, signal: AbortSignal): Promise<void> {
    await this.ports.kv.transact({
      compare: [unchanged(key, modRevision)], then: [{ kind: "delete", key }], else: [],
    }, { signal });
  }

  private noteFailure({ code, message: reason }: AetherError): void {
    if (code === "E_DATA_CORRUPT") this.log.error({ event: "jobs.bad-outbox", reason });
    else this.log.debug({ event: "jobs.not-told", code, reason });
  }
}

async function inGroups<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < all.length; at += TOLD_AT_ONCE) {
    await Promise.all(all.slice(at, at + TOLD_AT_ONCE).map(work));
  }
}

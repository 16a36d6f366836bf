// Owns: telling webhooks what the rows say that were written with the events: the leader sends each row until it is
// told, or has failed so often that it is given up. At least once: a row goes after its answer.
// Does not own: which events (core/flow/notice.ts), the request (notice-sender-adapter.ts).
//
// A receiver that does not answer holds up nobody: it has its own few requests at once, and so many rows at most that
// the oldest are given up when there are more.
import { toAetherError } from "../../base/errors.ts";
import { doRounds } from "../../base/rounds.ts";
import { TaskScope } from "../../base/task-scope.ts";
import { RowView, type Row } from "../../cluster/row-view.ts";
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { parseKey, prefixOf, type AetherKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import {
  noticeAfterFailure, noticeBody, noticeId, parseNoticeRow, parseUntoldRow, untoldAfter,
  type NoticePlace, type NoticeRow, type UntoldRow,
} from "../core/flow/notice.ts";
import { refOf } from "../core/ids.ts";
import { rowKey, untoldKey } from "../core/life/job-keys.ts";
import type { JobsMetrics } from "../metrics.ts";
import type { NoticeSender } from "./notice-sender.ts";
import { sendNotice } from "./send-notice.ts";
import type { Webhook } from "./webhook.ts";

export interface WebhookDriverPorts {
  readonly kv: Kv;
  readonly leadership: Pick<LeadershipService, "fence">;
  readonly sender: NoticeSender;
  /** Values by the names that webhooks have for them. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly metrics: Pick<JobsMetrics, "webhooks">;
  readonly onFatal: (error: unknown) => void;
}

/** Between looks for rows that have come, or may be tried again. */
const LOOK_EVERY_MS = 250;
/** Requests to one webhook at once. */
export const WEBHOOK_REQUESTS_MAX = 8;
/** Rows of one webhook that wait: beyond it the oldest are given up. */
export const WEBHOOK_ROWS_MAX = 5_000;
const GIVEN_UP_AT_ONCE = 32;

/** A row with its place. */
interface Notice {
  readonly place: NoticePlace;
  readonly hook: string;
  readonly row: Row<NoticeRow>;
}

export class WebhookDriver {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: WebhookDriverPorts;
  private readonly hooks: ReadonlyMap<string, Webhook>;
  private readonly rowsMax: number;
  private readonly rows: RowView<NoticeRow>;
  private readonly scope: TaskScope;
  /** Rows that are being told, by webhook. */
  private readonly sending = new Map<string, Set<KeyText>>();
  /** Revisions of rows that were changed or taken away, while the view still has them. */
  private readonly handled = new Map<KeyText, number>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: WebhookDriverPorts,
    hooks: readonly Webhook[],
    { rowsMax = WEBHOOK_ROWS_MAX }: { readonly rowsMax?: number } = {},
  ) {
    this.rowsMax = rowsMax;
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.hooks = new Map(hooks.map((hook) => [hook.name, hook]));
    this.rows = new RowView({ clock: env.clock, log: this.log }, ports.kv, prefixOf({ kind: "job-notices" }), parseRow);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.rows.open();
    this.scope.spawn("webhooks", (signal) => doRounds(this.clock, {
      firstAfterMs: LOOK_EVERY_MS,
      everyMs: LOOK_EVERY_MS,
      work: () => this.round(signal),
      onFailure: ({ code, message: reason }) => this.log.debug({ event: "jobs.webhook-not-noted", code, reason }),
    }, signal));
  }

  /** Requests under way are given up; the next leader makes them again. */
  async close(): Promise<void> {
    await this.scope.close();
    await this.rows.close();
  }

  private async round(signal: AbortSignal): Promise<void> {
    if (this.rows.rows().size === 0 || this.ports.leadership.fence() === undefined) return;
    for (const [text, revision] of this.handled) {
      if (this.rows.get(text)?.modRevision !== revision) this.handled.delete(text);
    }
    for (const [hook, notices] of this.byHook()) {
      const sending = this.sendingTo(hook);
      const idle = notices
        .filter(({ row: { text } }) => !sending.has(text) && !this.handled.has(text))
        .sort((a, b) => a.row.value.atMs - b.row.value.atMs);
      const overflow = idle.slice(0, Math.max(0, notices.length - this.rowsMax));
      for (let at = 0; at < overflow.length; at += GIVEN_UP_AT_ONCE) {
        const some = overflow.slice(at, at + GIVEN_UP_AT_ONCE);
        await Promise.all(some.map((one) => this.giveUp(one, "too many wait for this webhook", signal)));
      }
      for (const notice of idle.slice(overflow.length)) {
        if (sending.size >= WEBHOOK_REQUESTS_MAX) break;
        if (notice.row.value.nextMs <= this.clock.wallMs()) this.tell(notice, sending);
      }
    }
  }

  private byHook(): ReadonlyMap<string, Notice[]> {
    const found = new Map<string, Notice[]>();
    for (const row of this.rows.rows().values()) {
      const key = parseKey(row.text);
      if (key.kind !== "job-notice") continue;
      const notices = found.get(key.hook) ?? [];
      found.set(key.hook, notices);
      notices.push({ place: key, hook: key.hook, row });
    }
    return found;
  }

  private sendingTo(hook: string): Set<KeyText> {
    const known = this.sending.get(hook) ?? new Set();
    this.sending.set(hook, known);
    return known;
  }

  private tell(notice: Notice, sending: Set<KeyText>): void {
    const { text } = notice.row;
    sending.add(text);
    this.scope.spawn("webhook", async (signal) => {
      try {
        const problem = await this.send(notice, signal);
        signal.throwIfAborted();
        if (problem === undefined) await this.forget(notice, signal);
        else await this.noteFailure(notice, problem, signal);
      } catch (thrown) {
        signal.throwIfAborted();
        // The row is as it was: it is told once more.
        const { code, message: reason } = toAetherError(thrown);
        this.log.debug({ event: "jobs.webhook-not-noted", code, reason });
      } finally {
        sending.delete(text);
      }
    });
  }

  /** Why it was not told; undefined when it was. */
  private async send({ place, hook: name, row }: Notice, signal: AbortSignal): Promise<string | undefined> {
    const hook = this.hooks.get(name);
    if (hook === undefined) return "the node that leads has no webhook of this name";
    const notification = {
      id: noticeId(place, row.value), body: noticeBody(place, row.value), nowMs: this.clock.wallMs(),
    };
    return await sendNotice(this.ports, hook, notification, signal);
  }

  private async forget({ hook, row }: Notice, signal: AbortSignal): Promise<void> {
    await this.change(row, [], [{ kind: "delete", key: row.text }], signal);
    this.ports.metrics.webhooks.add(1, { webhook: hook, result: "told" });
  }

  private async noteFailure(notice: Notice, problem: string, signal: AbortSignal): Promise<void> {
    const { hook, row } = notice;
    const next = noticeAfterFailure(row.value, this.clock.wallMs());
    if (next === undefined) return await this.giveUp(notice, problem, signal);
    this.ports.metrics.webhooks.add(1, { webhook: hook, result: "failed" });
    this.log.debug({ event: "jobs.webhook-failed", webhook: hook, tries: next.tries, reason: problem });
    await this.change(row, [], [{ kind: "put", key: row.text, value: next }], signal);
  }

  /** Its job says so from now on, if it is there still. */
  private async giveUp({ place, hook, row }: Notice, reason: string, signal: AbortSignal): Promise<void> {
    const ref = refOf(place.job);
    const options = { consistency: "local", signal } as const;
    const [job, noted] = await Promise.all([rowKey(ref), untoldKey(ref)].map((key) => this.ports.kv.get(key, options)));
    const untold = { hook, event: row.value.event, seq: place.seq, atMs: row.value.atMs, reason };
    const note: readonly Op[] = job?.entry === undefined ? [] : [{
      kind: "put", key: untoldKey(ref), value: untoldAfter(readUntold(noted?.entry?.value), untold),
    }];
    const isDone = await this.change(row, [
      unchanged(rowKey(ref), job?.entry?.modRevision ?? 0),
      unchanged(untoldKey(ref), noted?.entry?.modRevision ?? 0),
    ], [{ kind: "delete", key: row.text }, ...note], signal);
    if (!isDone) return;
    this.ports.metrics.webhooks.add(1, { webhook: hook, result: "given-up" });
    this.log.warn({ event: "jobs.webhook-given-up", webhook: hook, job: place.job, reason });
  }

  private async change(
    { text, modRevision }: Row<NoticeRow>, guards: readonly Compare[], then: readonly Op[], signal: AbortSignal,
  ): Promise<boolean> {
    const fence = this.ports.leadership.fence();
    if (fence === undefined) return false;
    const { succeeded } = await this.ports.kv.transact(
      { compare: [fence, unchanged(text, modRevision), ...guards], then, else: [] }, { signal },
    );
    if (succeeded) this.handled.set(text, modRevision);
    return succeeded;
  }
}

function readUntold(value: unknown): UntoldRow | undefined {
  return value === undefined ? undefined : parseUntoldRow(value);
}

function parseRow(key: AetherKey, value: unknown): NoticeRow | undefined {
  return key.kind === "job-notice" ? parseNoticeRow(value) : undefined;
}

// Owns: telling webhooks what fires and what is over. The leader sends; what is not told yet travels with the snapshot,
// and the next leader sends it, under the same id: at least once.
// L5  A receiver that is slow, refuses or is gone holds up nobody: each has its own few requests, tries and places.
// Does not own: one request (jobs/webhooks).
import { TaskScope } from "../base/task-scope.ts";
import type { Clock } from "../env/clock.ts";
import type { Counter, Log, Telemetry } from "../env/telemetry.ts";
import { pauseAfter } from "../jobs/core/flow/notice.ts";
import { sendNotice, type NoticeReach } from "../jobs/webhooks/send-notice.ts";
import type { AlertNotice } from "../metrics/core/leader-word.ts";
import type { AlertWebhook } from "./alerts-config.ts";
import type { AlertChange } from "./core/alert-book.ts";
import { alertRule, isAlertName } from "./core/alert-rules.ts";
import { alertId, viewAlert } from "./core/alert-view.ts";

export interface NoticePorts extends Omit<NoticeReach, "sender"> {
  /** Nobody is told without it. */
  readonly sender?: NoticeReach["sender"] | undefined;
  readonly onFatal: (error: unknown) => void;
}

/** How it goes with one webhook. Counts are of the node that answers: only a leader sends. */
export interface WebhookState {
  readonly name: string;
  readonly waiting: number;
  readonly told: number;
  readonly failed: number;
  readonly givenUp: number;
  /** Why the last attempt failed; absent after one that did not. */
  readonly problem?: string;
}

/** What is not told yet to one webhook: beyond it the oldest are given up. */
export const ALERT_NOTICES_MAX = 50;
/** Requests to one webhook at once. */
export const ALERT_REQUESTS_MAX = 4;

export class AlertNotices {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly counted: Counter;
  private readonly ports: NoticePorts;
  private readonly scope: TaskScope;
  private readonly hooks: ReadonlyMap<string, Hook>;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Pick<Telemetry, "log" | "counter"> },
    ports: NoticePorts, hooks: readonly AlertWebhook[],
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.hooks = new Map(hooks.map((settings) => [settings.name, new Hook(settings)]));
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    this.counted = env.telemetry.counter({
      name: "aether_alert_notices_total",
      help: "Attempts of this node to tell webhooks of alerts: told, failed (tried again), given-up.",
      labels: ["webhook", "result"],
    });
  }

  async close(): Promise<void> {
    await this.scope.close();
  }

  /** What is not told yet, for whoever leads next. */
  waiting(): readonly AlertNotice[] {
    return [...this.hooks.values()].flatMap(({ waiting }) => waiting.map(({ notice }) => notice));
  }

  states(): readonly WebhookState[] {
    return [...this.hooks.values()].map(({ settings: { name }, waiting, counts, problem }) =>
      ({ name, waiting: waiting.length, ...counts, ...(problem !== undefined && { problem }) }));
  }

  add({ kind, mark: { rule, subject, sinceMs, value } }: AlertChange): void {
    const { severity } = alertRule(rule);
    for (const hook of this.hooks.values()) {
      if (hook.settings.severity === "error" && severity !== "error") continue;
      const { name } = hook.settings;
      this.keep(hook, { hook: name, kind, rule, subject, sinceMs, value, atMs: this.clock.wallMs(), tries: 0 });
    }
  }

  /** In the place of all that wait here: who leads says so. */
  adopt(notices: readonly AlertNotice[]): void {
    for (const [name, hook] of this.hooks) {
      hook.waiting = [];
      for (const notice of notices) if (notice.hook === name) this.keep(hook, notice);
    }
  }

  /** Sends what is due; returns at once. */
  send(): void {
    const nowMs = this.clock.nowMs();
    for (const hook of this.hooks.values()) {
      for (const one of hook.waiting) {
        if (hook.sending.size >= ALERT_REQUESTS_MAX) break;
        if (one.nextMs <= nowMs && !hook.sending.has(idOf(one.notice))) this.tell(hook, one);
      }
    }
  }

  private keep(hook: Hook, notice: AlertNotice): void {
    hook.waiting.push({ notice, nextMs: this.clock.nowMs() });
    while (hook.waiting.length > ALERT_NOTICES_MAX) {
      const oldest = hook.waiting.shift();
      if (oldest !== undefined) this.giveUp(hook, oldest.notice, "too many wait for this webhook");
    }
  }

  private tell(hook: Hook, one: Waiting): void {
    const { sender, secrets } = this.ports;
    if (sender === undefined) return;
    const { notice } = one;
    const id = idOf(notice);
    hook.sending.add(id);
    this.scope.spawn("alert-webhook", async (signal) => {
      try {
        const notification = { id, body: bodyOf(notice), nowMs: this.clock.wallMs() };
        const problem = await sendNotice({ sender, secrets }, hook.settings, notification, signal);
        signal.throwIfAborted();
        this.noteResult(hook, notice, problem);
      } finally {
        hook.sending.delete(id);
      }
    });
  }

  private noteResult(hook: Hook, notice: AlertNotice, problem: string | undefined): void {
    const at = hook.waiting.findIndex((one) => idOf(one.notice) === idOf(notice));
    hook.problem = problem;
    if (problem === undefined) {
      if (at >= 0) hook.waiting.splice(at, 1);
      this.count(hook, "told");
      return;
    }
    const tries = notice.tries + 1;
    const pauseMs = pauseAfter(tries);
    if (at >= 0 && pauseMs !== undefined) {
      hook.waiting[at] = { notice: { ...notice, tries }, nextMs: this.clock.nowMs() + pauseMs };
      this.count(hook, "failed");
      this.log.debug({ event: "alert.webhook-failed", webhook: notice.hook, tries, reason: problem });
    } else if (at >= 0) {
      hook.waiting.splice(at, 1);
      this.giveUp(hook, notice, problem);
    }
  }

  private giveUp(hook: Hook, { hook: webhook, rule: alert, subject }: AlertNotice, reason: string): void {
    this.count(hook, "given-up");
    this.log.warn({ event: "alert.webhook-given-up", webhook, alert, subject, reason });
  }

  private count(hook: Hook, result: "told" | "failed" | "given-up"): void {
    const { counts } = hook;
    hook.counts = {
      told: counts.told + (result === "told" ? 1 : 0),
      failed: counts.failed + (result === "failed" ? 1 : 0),
      givenUp: counts.givenUp + (result === "given-up" ? 1 : 0),
    };
    this.counted.add(1, { webhook: hook.settings.name, result });
  }
}

interface Waiting {
  readonly notice: AlertNotice;
  /** When it is tried, by this node's clock. */
  readonly nextMs: number;
}

class Hook {
  readonly settings: AlertWebhook;
  waiting: Waiting[] = [];
  /** Ids of those under way. */
  readonly sending = new Set<string>();
  counts = { told: 0, failed: 0, givenUp: 0 };
  problem: string | undefined;

  constructor(settings: AlertWebhook) {
    this.settings = settings;
  }
}

/** What its other side knows it by: the same at every attempt, of every leader. */
function idOf(notice: AlertNotice): string {
  return `${notice.kind}/${alertId(notice)}`;
}

function bodyOf(notice: AlertNotice): string {
  const { kind, rule, subject, sinceMs, value, atMs } = notice;
  const told = { v: 1, id: idOf(notice), event: kind, alert: rule, subject, sinceMs, atMs };
  if (!isAlertName(rule)) return JSON.stringify(told);
  const { severity, text, action } = viewAlert({
    rule, subject, sinceMs, value, phase: "firing", heldMs: 0, unknownMs: 0,
  });
  return JSON.stringify({ ...told, severity, ...(kind === "fired" && { value, text, action }) });
}

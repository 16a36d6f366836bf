// Owns: judging the alerts of the cluster on the node that leads, and of each node what only it can know; telling what
// fires and what is over. What stands travels with the snapshot of metrics: who leads next goes on from it.
// L4  Nothing of this is written to the store.
// Does not own: which alerts there are (core/alert-rules.ts), what the rules see (cluster-sight.ts).
import type { NodeId } from "../base/ids.ts";
import { SECOND_MS } from "../base/units.ts";
import type { LeadershipService } from "../cluster/leadership/leadership-service.ts";
import type { Clock, Timer } from "../env/clock.ts";
import type { Log, Telemetry } from "../env/telemetry.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { AlertPhase, LeaderWord, LeaderWordPort } from "../metrics/core/leader-word.ts";
import type { EventDraft } from "../metrics/events/core/event.ts";
import type { LeaderEvents } from "../metrics/events/leader-events.ts";
import { limitsOf, type AlertsConfig } from "./alerts-config.ts";
import { clusterSight, type SightPorts } from "./cluster-sight.ts";
import type { AlertNotices, WebhookState } from "./alert-notices.ts";
import { AlertBook, type AlertChange, type RuleReadings } from "./core/alert-book.ts";
import { ALERT_NAMES, alertRule, type AlertRule, type AlertSeverity, type Reading } from "./core/alert-rules.ts";
import { viewAlert, type AlertView } from "./core/alert-view.ts";
import type { OwnSight } from "./core/sight.ts";

export interface AlertPorts extends SightPorts {
  readonly metrics: SightPorts["metrics"] & Pick<ClusterMetrics, "own">;
  readonly ofLeader: Pick<LeaderEvents, "say" | "hear" | "newest">;
  readonly leadership: Pick<LeadershipService, "current">;
  /** What this node says by itself. */
  readonly say: (draft: EventDraft) => void;
  readonly notices: AlertNotices;
}

export interface AlertFilter {
  readonly severity?: AlertSeverity;
  readonly state?: AlertPhase;
}

export interface AlertList {
  /** Errors first, then the longest standing. */
  readonly alerts: readonly AlertView[];
  /** Who judged those of the cluster last, and how long ago; null before anybody has. */
  readonly judged: { readonly by: string; readonly ageMs: number; readonly isStale: boolean } | null;
  readonly webhooks: readonly WebhookState[];
}

/** What those see who read the alerts. */
export interface Alerts {
  list(filter?: AlertFilter): AlertList;
  /**
   * Called when something of this node itself fires or is over; what the leader judges comes with its snapshot of
   * metrics. Must not throw. Gives what ends it.
   */
  onOwnChange(listener: () => void): () => void;
}

const LOOK_EVERY_MS = SECOND_MS;

export class AlertService implements Alerts, LeaderWordPort {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: AlertPorts;
  private readonly self: NodeId;
  private readonly config: AlertsConfig;
  private readonly ofCluster = new AlertBook();
  private readonly own = new AlertBook();
  private readonly listeners = new Set<() => void>();
  private timer: Timer | undefined;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Pick<Telemetry, "log"> },
    ports: AlertPorts,
    { self, config }: { readonly self: NodeId; readonly config: AlertsConfig },
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.self = self;
    this.config = config;
  }

  start(): void {
    this.timer = this.clock.setTimer(LOOK_EVERY_MS, () => {
      this.start();
      this.lookAtSelf();
    });
  }

  close(): void {
    this.timer?.cancel();
  }

  speak(epoch: number): LeaderWord {
    const { ofLeader, notices } = this.ports;
    const sight = clusterSight(this.ports);
    const changes = this.ofCluster.judge(this.readings((rule) => rule.by === "leader" && rule.read(sight)), this.now());
    for (const change of changes) {
      ofLeader.say(draftOf(change), epoch);
      notices.add(change);
      this.note(change);
    }
    notices.send();
    return { alerts: this.ofCluster.list(), said: ofLeader.newest(), notices: notices.waiting() };
  }

  hear({ alerts, said, notices }: LeaderWord): void {
    this.ports.ofLeader.hear(said);
    this.ports.notices.adopt(notices);
    this.ofCluster.adopt(alerts, this.clock.nowMs());
  }

  list({ severity, state }: AlertFilter = {}): AlertList {
    const kept = this.ports.metrics.latest();
    const alerts = [...this.ofCluster.list(), ...this.own.list()].map(viewAlert)
      .filter((one) => severity === undefined || one.severity === severity)
      .filter((one) => state === undefined || one.state === state)
      .sort((a, b) => rank(a) - rank(b) || a.sinceMs - b.sinceMs);
    const webhooks = this.ports.notices.states();
    if (kept === undefined) return { alerts, judged: null, webhooks };
    const { snapshot: { leader: by }, ageMs, isStale } = kept;
    return { alerts, judged: { by, ageMs: Math.round(ageMs), isStale }, webhooks };
  }

  onOwnChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private lookAtSelf(): void {
    const { group, leadership, metrics } = this.ports;
    const { quorum, isReady } = group.status();
    const knowsLeader = isReady ? leadership.current() !== undefined : undefined;
    const sight: OwnSight = { node: this.self, quorum, knowsLeader, facts: metrics.own()?.facts };
    const changes = this.own.judge(this.readings((rule) => rule.by === "node" && rule.read(sight)), this.now());
    for (const change of changes) {
      this.ports.say(draftOf(change));
      this.note(change);
    }
    if (changes.length > 0) for (const listener of this.listeners) listener();
  }

  /** `read` gives false for a rule that somebody else judges. */
  private readings(read: (rule: AlertRule) => readonly Reading[] | undefined | false): readonly RuleReadings[] {
    return ALERT_NAMES.flatMap((name) => {
      const limits = limitsOf(name, this.config);
      if (limits === undefined) return [];
      const readings = read(alertRule(name));
      return readings === false ? [] : [{ name, limits, readings }];
    });
  }

  private now(): { readonly nowMs: number; readonly wallMs: number } {
    return { nowMs: this.clock.nowMs(), wallMs: this.clock.wallMs() };
  }

  private note({ kind, mark }: AlertChange): void {
    const { alert, subject, severity, text: reason } = viewAlert(mark);
    if (kind === "cleared") this.log.info({ event: "alert.cleared", alert, subject });
    else this.log.warn({ event: "alert.fired", alert, subject, severity, reason });
  }
}

function draftOf({ kind, mark }: AlertChange): EventDraft {
  const { alert, subject, severity, text: reason, action } = viewAlert(mark);
  return kind === "fired"
    ? { kind: "alert.fired", fields: { alert, subject, severity, reason, action } }
    : { kind: "alert.cleared", fields: { alert, subject } };
}

function rank({ severity, state }: AlertView): number {
  return (state === "firing" ? 0 : 2) + (severity === "error" ? 0 : 1);
}

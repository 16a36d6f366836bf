// Owns: the leader's loop of control: every second it asks its controller, and writes what the bounds leave of that.
// Does not own: what is advised and allowed (core/), who leads, what becomes of a count (cluster/deployment).
//
// Each write carries the fence of the leadership and compares everything that the decision was made from: rules, pause,
// pin, blueprint, rollout and the scale itself, as they were then: all writes of a round are made before the first one
// waits. So of two that think they lead one writes at most, and a person's word that came a moment before is not
// overrun. A slice whose write fails holds up no other.
import { doRounds } from "../base/rounds.ts";
import { toAetherError } from "../base/errors.ts";
import { TaskScope } from "../base/task-scope.ts";
import { SECOND_MS } from "../base/units.ts";
import type { Clock } from "../env/clock.ts";
import type { Log, Telemetry } from "../env/telemetry.ts";
import type { Group } from "../consensus/group.ts";
import { isPassing } from "../cluster/store-outage.ts";
import type { ClusterViews } from "../cluster/cluster-views.ts";
import type { LeadershipService } from "../cluster/leadership/leadership-service.ts";
import type { MembershipService } from "../cluster/membership/membership-service.ts";
import { unchanged } from "../kvstore/core/guards.ts";
import { formatKey } from "../kvstore/core/key.ts";
import type { Compare, Txn } from "../kvstore/core/schema.ts";
import type { Kv } from "../kvstore/kv.ts";
import type { ClusterMetrics } from "../metrics/cluster-metrics.ts";
import type { LeaderEvents } from "../metrics/events/leader-events.ts";
import type { ScaleRow } from "../slices/core/scale-row.ts";
import type { Advised, ClusterController, ControlContext, Decision, SliceFacts } from "./core/advice.ts";
import { REASON_CHARS_MAX } from "./core/control-rows.ts";
import { decide } from "./core/decide.ts";
import { DecisionLog, type LoggedDecision } from "./core/decision-log.ts";
import { DecisionTreeController } from "./core/decision-tree.ts";
import { LayeredController } from "./core/layered.ts";
import { lookbackMsOf, type RuleSet } from "./core/rules.ts";
import type { ControlView } from "./control-view.ts";
import { KeptWindow } from "./kept-window.ts";
import { isDraining, isReady, sliceFactsOf, type FactViews } from "./slice-facts.ts";

/** Models that are asked now and then, while this node leads. */
export interface ModelAdvice {
  /** Asks anew when it is time; returns at once. */
  consider(context: ControlContext, rules: RuleSet): void;
  latest(): Advised;
  /** Forgets what was said, and ends what is under way: this node does not lead any more. */
  reset(): void;
  close(): Promise<void>;
}

export interface ControlLoopPorts {
  readonly kv: Kv;
  readonly views: FactViews & Pick<ClusterViews, "isComplete" | "scales" | "blueprints" | "unreadableBlueprints">;
  readonly control: ControlView;
  readonly leadership: Pick<LeadershipService, "fence" | "current">;
  readonly membership: Pick<MembershipService, "nodes">;
  readonly group: Pick<Group, "status">;
  readonly metrics: Pick<ClusterMetrics, "history">;
  readonly models: ModelAdvice;
  readonly ofLeader: Pick<LeaderEvents, "say">;
  /** The time of most nodes, for cooldowns that outlast a leader. */
  readonly time: { wallMs(): number };
  readonly onFatal: (error: unknown) => void;
}

const EVERY_MS = SECOND_MS;
const WRITE_TIMEOUT_MS = 2 * SECOND_MS;

/** What one term of leadership knows; another begins anew. */
interface Term {
  readonly epoch: number;
  /** The revision of the rules that the controller goes by. */
  readonly rulesRevision: number;
  readonly controller: ClusterController;
}

export class ControlLoop {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: ControlLoopPorts;
  private readonly scope: TaskScope;
  private readonly decisions = new DecisionLog();
  private term: Term | undefined;
  /** Since when a scale has been seen as it is: a wall clock that is wrong must not stop a slice for ever. */
  private readonly seen = new Map<string, { readonly modRevision: number; readonly atMs: number }>();

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: ControlLoopPorts) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
  }

  start(): void {
    this.scope.spawn("control", (signal) => doRounds(this.clock, {
      firstAfterMs: EVERY_MS,
      everyMs: EVERY_MS,
      work: () => this.round(signal),
      // The next round decides anew from what is so then.
      onFailure: (error) => {
        const fields = { event: "control.round-failed", code: error.code, reason: error.message };
        if (isPassing(error)) this.log.debug(fields);
        else this.log.warn(fields);
      },
    }, signal));
  }

  async close(): Promise<void> {
    await this.scope.close();
    await this.ports.models.close();
  }

  /** What this node decided lately, oldest first; only a node that leads decides. */
  recent(): readonly LoggedDecision[] {
    return this.decisions.list();
  }

  /** How slices stand, as this node sees them. */
  facts(): ReadonlyMap<string, SliceFacts> {
    const { views, membership, control } = this.ports;
    for (const slice of this.seen.keys()) if (views.scaleOf(slice) === undefined) this.seen.delete(slice);
    return sliceFactsOf({
      views, membership, pinnedBy: (slice) => control.pinnedBy(slice),
      agoMs: (slice, atMs, modRevision) => this.agoMs(slice, atMs, modRevision),
    });
  }

  private async round(signal: AbortSignal): Promise<void> {
    const { views, control, models } = this.ports;
    const term = this.currentTerm();
    if (term === undefined) {
      models.reset();
      return;
    }
    if (!views.isComplete || !control.isComplete) return;
    const rules = control.rules();
    const context = this.context(rules);
    models.consider(context, rules);
    const decided = decide(term.controller, context, rules).map((decision) => ({
      decision, txn: this.writeOf(decision, context),
    }));
    const forgotten = this.writesOfForgotten(context);
    for (const { decision, txn } of decided) await this.follow(decision, txn, signal);
    for (const txn of forgotten) await this.ports.kv.transact(txn, { signal, timeoutMs: WRITE_TIMEOUT_MS });
  }

  private currentTerm(): Term | undefined {
    const { leadership, control, models } = this.ports;
    const epoch = leadership.fence() === undefined ? undefined : leadership.current()?.epoch;
    if (epoch === undefined) {
      this.term = undefined;
      return undefined;
    }
    const rulesRevision = control.rulesRow()?.modRevision ?? 0;
    if (this.term?.epoch === epoch && this.term.rulesRevision === rulesRevision) return this.term;
    models.reset();
    const controller = new LayeredController(new DecisionTreeController(control.rules()), models);
    this.term = { epoch, rulesRevision, controller };
    return this.term;
  }

  private context(rules: RuleSet): ControlContext {
    const { membership, group, metrics, control } = this.ports;
    const { need, have } = group.status().quorum;
    return {
      // For how long a rule has held must not depend on a wall clock that is set anew.
      nowMs: this.clock.nowMs(),
      window: new KeptWindow(metrics, { lookbackMs: lookbackMsOf(rules), clock: this.clock }),
      slices: this.facts(),
      cluster: {
        hasQuorum: have >= need,
        nodes: membership.nodes.filter(isReady).length,
        draining: membership.nodes.filter(isDraining).map(({ node }) => node),
        pausedBy: control.pausedBy(),
      },
      events: this.recent().slice(-EVENTS_TOLD_MAX).map(({ decision: { slice, kind, source, reason }, atMs }) =>
        ({ atMs, source, text: `${slice}: ${kind}, ${reason}` })),
    };
  }

  /** `txn`: of a decision that is to be written. */
  private async follow(decision: Decision, txn: Txn | undefined, signal: AbortSignal): Promise<void> {
    if (decision.kind === "scale" && (txn === undefined || !(await this.tryWrite(decision.slice, txn, signal)))) return;
    if (!this.decisions.add(decision, this.clock.wallMs())) return;
    this.log.info({ event: `control.${decision.kind}`, ...decision, kind: undefined });
    // A scale is read from its row.
    if (decision.kind !== "refused" || this.term === undefined) return;
    const { slice, source, code, reason } = decision;
    this.ports.ofLeader.say({ kind: "control.refused", fields: { slice, source, code, reason } }, this.term.epoch);
  }

  /** False when it was not written: something had changed, or the store takes nothing now. The next round looks. */
  private async tryWrite(slice: string, txn: Txn, signal: AbortSignal): Promise<boolean> {
    try {
      const { succeeded } = await this.ports.kv.transact(txn, { signal, timeoutMs: WRITE_TIMEOUT_MS });
      return succeeded;
    } catch (thrown) {
      signal.throwIfAborted();
      const { code, message: reason } = toAetherError(thrown);
      this.log.warn({ event: "control.not-written", slice, code, reason });
      return false;
    }
  }

  /** Undefined for what is not written: no scale, or this node does not lead any more. */
  private writeOf(decision: Decision, { slices }: ControlContext): Txn | undefined {
    const { leadership, views, time } = this.ports;
    const facts = slices.get(decision.slice);
    const fence = leadership.fence();
    if (decision.kind !== "scale" || facts === undefined || fence === undefined) return undefined;
    const { slice, from, to, source, reason } = decision;
    const key = formatKey({ kind: "scale", slice });
    const row: ScaleRow = {
      blueprint: facts.blueprint,
      base: facts.base,
      instances: to,
      direction: to > from ? "up" : "down",
      source,
      reason: reason.slice(0, REASON_CHARS_MAX),
      changedAtMs: time.wallMs(),
    };
    const known = views.scaleOf(slice) ?? views.scales.damaged.get(key);
    return {
      compare: [fence, unchanged(key, known?.modRevision ?? 0), ...this.guards(slice, facts.blueprint)],
      then: [{ kind: "put", key, value: row }],
      else: [],
    };
  }

  /** Nobody has changed what the decision was made from. */
  private guards(slice: string, blueprint: string) {
    const { control, views } = this.ports;
    const { rules, pause, pin } = control.modRevisions(slice);
    const rollout = formatKey({ kind: "rollout", blueprint, slice });
    const rolloutRow = views.rollouts.get(rollout) ?? views.rollouts.damaged.get(rollout);
    return [
      unchanged(formatKey({ kind: "control-rules" }), rules),
      unchanged(formatKey({ kind: "control-pause" }), pause),
      unchanged(formatKey({ kind: "control-pin", slice }), pin),
      this.isStill(blueprint),
      unchanged(rollout, rolloutRow?.modRevision ?? 0),
    ];
  }

  private isStill(blueprint: string): Compare {
    const current = formatKey({ kind: "blueprint-current", name: blueprint });
    return unchanged(current, this.ports.views.blueprints.get(current)?.modRevision ?? 0);
  }

  /** Scales that say nothing any more: their slice is gone, or its blueprint wants another number by now. */
  private writesOfForgotten({ slices }: ControlContext): readonly Txn[] {
    const { leadership, views } = this.ports;
    const fence = leadership.fence();
    // Whose blueprint cannot be read is not gone.
    if (fence === undefined || views.unreadableBlueprints().size > 0) return [];
    return views.scales.rowsInKeyOrder().flatMap(({ text, modRevision, value: { slice, blueprint, base } }) => {
      const facts = slices.get(slice);
      if (facts?.blueprint === blueprint && facts.base === base) return [];
      // A scale may be of a blueprint that is newer than the one that is seen here.
      const compare = [fence, unchanged(text, modRevision), this.isStill(blueprint)];
      return { compare, then: [{ kind: "delete", key: text }], else: [] };
    });
  }

  /** The longer of what the clocks of most nodes say and of what this node has seen itself. */
  private agoMs(slice: string, changedAtMs: number, modRevision: number): number {
    const nowMs = this.clock.nowMs();
    const known = this.seen.get(slice);
    const since = known?.modRevision === modRevision ? known : { modRevision, atMs: nowMs };
    this.seen.set(slice, since);
    return Math.max(0, this.ports.time.wallMs() - changedAtMs, nowMs - since.atMs);
  }
}

/** Of what was decided lately, to a model. */
const EVENTS_TOLD_MAX = 20;

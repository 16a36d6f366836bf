// Owns: the leader's loop: it compares blueprints, nodes and rows, and writes the commands of the plan.
// Does not own: the plan (core/reconcile.ts), who leads, what nodes do with their commands.
//
// Nothing is remembered outside the store but how long a row has been seen as it is. Every write carries the fence of
// the leadership and the revision of what it was planned from, so a late or a doubled one changes nothing.
import { SECOND_MS } from "../../base/units.ts";
import { AetherError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, LEADER_KEY, parseKey, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import type { WaitingRollout } from "../../slices/core/blueprint-status.ts";
import type { InstanceRow } from "../../slices/core/instance-row.ts";
import { instanceKeyOf } from "../../slices/core/instance-spec.ts";
import { nextState } from "../../slices/core/lifecycle.ts";
import { isTurnedBack } from "../../slices/core/rollout-row.ts";
import { assert, unreachable } from "../../base/assert.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { storable } from "../core/plain-value.ts";
import type { UnplacedReason } from "./core/placement.ts";
import type {
  LoadCommand, PlanCommand, PlanInstance, PlanPlace, RolloutCommand, Unplaced,
} from "./core/plan-types.ts";
import { plan } from "./core/reconcile.ts";
import { INSTANCE_TIME_LIMITS, METHODS_MAX, type InstanceTimeLimits } from "./instance-driver.ts";
import type { LeadershipService } from "../leadership/leadership-service.ts";
import type { MembershipService } from "../membership/membership-service.ts";
import { planInputOf } from "./plan-input.ts";
import type { CallTallies } from "../rollouts/call-tallies.ts";
import { StoreLoop } from "../store-loop.ts";
import { isPassing } from "../store-outage.ts";

export interface ClusterDeploymentPorts {
  readonly kv: Kv;
  readonly views: ClusterViews;
  readonly leadership: Pick<LeadershipService, "isLeader" | "fence" | "current" | "onChange">;
  readonly tallies: Pick<CallTallies, "sumOf">;
  readonly membership: Pick<MembershipService, "nodes" | "goneCandidates" | "rowOf" | "onChange" | "isMember">;
  /** A rollout waits for longer than it should, or has to wait for another one. */
  readonly onLateRollout: LateRolloutSaid;
  readonly onFatal: (error: unknown) => void;
}

export type LateRolloutSaid = (
  late: { readonly blueprint: string; readonly slice: string; readonly message: string }, epoch: number,
) => void;

export interface ClusterDeploymentConfig {
  /** What nodes keep to; an instance that stays longer in such a state is stuck. */
  readonly limits?: InstanceTimeLimits;
}

const FULL_ROUND_EVERY_MS = 10 * SECOND_MS;
/** How often a leader looks whether its views are complete. */
const VIEWS_POLL_MS = 50;
const WRITE_TIMEOUT_MS = 5 * SECOND_MS;
/** Endpoints deleted in one transaction, which has 128 operations at most: all that one instance can have. */
const ENDPOINTS_PER_TXN = METHODS_MAX;

const UNPLACED_TEXT: Readonly<Record<UnplacedReason, string>> = {
  "no-node": "no node is on duty",
  labels: "no node on duty has the labels it asks for",
  capacity: "no node on duty with its labels has the memory left for it",
};

/** What one term of leadership remembers: how long rows have stood still, and what was said already. */
interface Term {
  readonly epoch: number;
  /** What must be in the views before the next plan: the read that began the term, and what it has written since. */
  seenRevision: number;
  /** Whether a write ended without an answer since then. */
  isInDoubt: boolean;
  /** What was said in the log already, and is said once. */
  readonly told: Set<string>;
  readonly unchangedSince: Map<KeyText, { readonly modRevision: number; readonly atMs: number }>;
  /** Rollouts that were late in the last look, and what for: told already. */
  late: ReadonlySet<string>;
}

type FoundNode = NonNullable<ReturnType<MembershipService["rowOf"]>>;

export class ClusterDeploymentManager {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: ClusterDeploymentPorts;
  private readonly limits: InstanceTimeLimits;
  private readonly loop: StoreLoop;
  private term: Term | undefined;
  private toldUnplaced = "";
  /** How often blueprints or nodes have changed. A write is guarded by them as they are then: a plan ends with them. */
  private changes = 0;

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: ClusterDeploymentPorts,
    config: ClusterDeploymentConfig = {},
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.limits = config.limits ?? INSTANCE_TIME_LIMITS;
    this.loop = new StoreLoop(env, "cluster-deployment", {
      look: (signal) => this.look(signal),
      onFatal: ports.onFatal,
    });
    const wakeUp = (): void => this.loop.notify();
    ports.leadership.onChange(wakeUp);
    ports.membership.onChange(wakeUp);
    const { blueprints, nodes, rollouts, scales, slices, endpoints } = ports.views;
    for (const view of [blueprints, nodes, rollouts, scales, slices, endpoints]) view.subscribe(wakeUp);
    for (const view of [blueprints, nodes]) view.subscribe(() => (this.changes += 1));
  }

  start(): void {
    this.loop.start();
  }

  async close(): Promise<void> {
    await this.loop.close();
  }

  private async look(signal: AbortSignal): Promise<number> {
    try {
      return await this.round(signal);
    } catch (error) {
      // What was under way may have been written, and may not be applied here yet.
      if (this.term !== undefined) this.term.isInDoubt = true;
      throw error;
    }
  }

  /** One look at everything, and the commands that follow from it. Returns when to look again without a change. */
  private async round(signal: AbortSignal): Promise<number> {
    const term = await this.currentTerm(signal);
    if (term === undefined) return FULL_ROUND_EVERY_MS;
    await this.declareGone(term, signal);
    await this.forgetIntents(term, signal);
    if (!(await this.seesAll(term))) return VIEWS_POLL_MS;
    if (!this.holds(term)) return FULL_ROUND_EVERY_MS;
    this.forgetOldRows(term);
    const { changes } = this;
    const isUpToDate = (): boolean => this.holds(term) && this.changes === changes;
    const input = planInputOf(this.ports, this.limits, (key, at) => this.unchangedForMs(term, key, at));
    const { rollouts, commands, unplaced, waiting, stalled, againInMs } = plan(input);
    this.tellFrozen(term, input.frozen);
    this.tellStalled(term, stalled);
    this.tellUnplaced(unplaced);
    this.tellLate(term, waiting);
    let refused = 0;
    for (const rollout of rollouts) {
      if (!isUpToDate()) return FULL_ROUND_EVERY_MS;
      await this.writeRollout(term, rollout, signal);
    }
    for (const command of commands) {
      if (!isUpToDate()) return FULL_ROUND_EVERY_MS;
      if (!(await this.tryExecute(term, command, signal))) refused++;
    }
    if (refused === commands.length) await this.sweepEndpoints(term, signal);
    return Math.min(againInMs ?? FULL_ROUND_EVERY_MS, FULL_ROUND_EVERY_MS);
  }

  /**
   * The term under way. It begins with a linearizable read, so that it plans from nothing older than itself, and reads
   * again after a write whose outcome it does not know.
   */
  private async currentTerm(signal: AbortSignal): Promise<Term | undefined> {
    const epoch = this.leadingEpoch();
    if (epoch === undefined) {
      this.term = undefined;
      return undefined;
    }
    if (this.term?.epoch === epoch && !this.term.isInDoubt) return this.term;
    const { revision } = await this.ports.kv.get(LEADER_KEY, { signal });
    if (this.leadingEpoch() !== epoch) return undefined;
    const known = this.term?.epoch === epoch
      ? this.term
      : { told: new Set<string>(), unchangedSince: new Map(), late: new Set<string>() };
    this.term = { ...known, epoch, isInDoubt: false, seenRevision: revision };
    return this.term;
  }

  private leadingEpoch(): number | undefined {
    return this.ports.leadership.isLeader ? this.ports.leadership.current()?.epoch : undefined;
  }

  private holds(term: Term): boolean {
    return this.leadingEpoch() === term.epoch;
  }

  /**
   * Whether all views show what was there when the term began, and all that it has written since. A plan made before
   * counts what is not there any more, or does not count what is: it would command the same twice.
   */
  private async seesAll(term: Term): Promise<boolean> {
    const { views } = this.ports;
    // What this leader wrote or read is applied here; watches say so at the end of the turn.
    views.requestProgress();
    await new Promise<void>((resolve) => this.clock.defer(resolve));
    return views.isComplete && views.revision >= term.seenRevision;
  }

  private async declareGone(term: Term, signal: AbortSignal): Promise<void> {
    for (const node of [...this.ports.membership.goneCandidates].sort()) {
      const found = this.ports.membership.rowOf(node);
      if (found === undefined || found.value.state === "gone") continue;
      if (!this.holds(term)) return;
      await this.confined(term, { command: "declare gone", node }, signal, () => this.writeGone(term, found, signal));
    }
  }

  /** What was wanted of a node that was removed must not await another one that comes under its name. */
  private async forgetIntents(term: Term, signal: AbortSignal): Promise<void> {
    for (const { text, modRevision } of this.ports.views.intents.rowsInKeyOrder()) {
      const key = parseKey(text);
      if (key.kind !== "node-intent" || this.ports.membership.isMember(key.node)) continue;
      if (!this.holds(term)) return;
      const { node } = key;
      await this.confined(term, { command: "forget intent", node }, signal, async () => {
        const then: readonly Op[] = [{ kind: "delete", key: text }];
        await this.write(term, signal, { compare: [unchanged(text, modRevision)], then });
      });
    }
  }

  private async writeGone(term: Term, { text, modRevision, value }: FoundNode, signal: AbortSignal): Promise<void> {
    const { node, ...row } = value;
    const isWritten = await this.write(term, signal, {
      compare: [unchanged(text, modRevision)],
      then: [{ kind: "put", key: text, value: { ...row, state: "gone", sinceMs: this.clock.wallMs() } }],
    });
    if (isWritten) this.log.warn({ event: "node.gone", peer: node });
  }

  private async tryExecute(term: Term, command: PlanCommand, signal: AbortSignal): Promise<boolean> {
    const { node, artifact, index } = command.kind === "load" ? command : command.instance;
    const subject = { command: command.kind, node, instance: instanceKeyOf(artifact, index) };
    return this.confined(term, subject, signal, () => this.execute(term, command, signal));
  }

  /** False for a write that the store will never take: it concerns one row, and the others go on. */
  private async confined(
    term: Term,
    subject: { readonly command: string; readonly node?: NodeId; readonly instance?: string },
    signal: AbortSignal,
    write: () => Promise<void>,
  ): Promise<boolean> {
    try {
      await write();
      return true;
    } catch (thrown) {
      signal.throwIfAborted();
      if (!(thrown instanceof AetherError) || isPassing(thrown)) throw thrown;
      const { code, message: reason } = thrown;
      this.tellOnce(term, `refused ${subject.node} ${subject.instance}`, () =>
        this.log.error({ event: "instance.command-refused", ...subject, code, reason }),
      );
      return false;
    }
  }

  private async execute(term: Term, command: PlanCommand, signal: AbortSignal): Promise<void> {
    switch (command.kind) {
      case "load":
        return this.load(term, command, signal);
      case "activate":
      case "deactivate":
      case "unload":
        return this.command(term, command, signal);
      case "forget":
        return this.forget(term, command.instance, signal);
      default:
        return unreachable(command);
    }
  }

  private async writeRollout(term: Term, command: RolloutCommand, signal: AbortSignal): Promise<void> {
    const { blueprint, slice, row, modRevision } = command;
    const key = formatKey({ kind: "rollout", blueprint, slice });
    const guards = [...this.blueprintGuards(blueprint), ...revisionGuards(blueprint, row)];
    const compare = [unchanged(key, modRevision), ...guards];
    const op: Op = row === undefined
      ? { kind: "delete", key }
      : { kind: "put", key, value: storable({ ...row, sinceMs: this.clock.wallMs() }) };
    await this.confined(term, { command: "rollout", instance: key }, signal, async () => {
      if (!(await this.write(term, signal, { compare, then: [op] })) || row === undefined) return;
      const { stage, target, previous, reason } = row;
      const versions = { from: previous.artifact, to: target.artifact };
      const event = { event: "rollout.stage", blueprint, slice, stage, ...versions };
      if (isTurnedBack(row)) this.log.warn({ ...event, reason });
      else this.log.info(event);
    });
  }

  private async load(term: Term, command: LoadCommand, signal: AbortSignal): Promise<void> {
    const { kind: _, node, artifact, index, error, instead, modRevision, rolloutRevision, ...wanted } = command;
    const rollout = formatKey({ kind: "rollout", blueprint: wanted.blueprint, slice: wanted.slice });
    const key = formatKey({ kind: "slice", node, artifact, instance: index });
    const row: InstanceRow = {
      ...wanted,
      state: "LOAD",
      sinceMs: this.clock.wallMs(),
      ...(error === undefined ? {} : { error }),
    };
    const forgotten = instead === undefined ? { compare: [], then: [] } : this.forgetting(instead);
    const isWritten = await this.write(term, signal, {
      compare: [
        ...forgotten.compare,
        unchanged(key, modRevision),
        ...this.nodeGuards(node),
        ...this.blueprintGuards(wanted.blueprint),
        unchanged(rollout, rolloutRevision),
      ],
      then: [{ kind: "put", key, value: storable(row) }, ...forgotten.then],
    });
    const { attempt } = wanted;
    if (isWritten) this.log.info({ event: "instance.command", state: "LOAD", node, instance: key, attempt });
  }

  private async command(
    term: Term,
    { kind, instance }: Extract<PlanCommand, { kind: "activate" | "deactivate" | "unload" }>,
    signal: AbortSignal,
  ): Promise<void> {
    const state = nextState(instance.row.state, kind);
    assert(state !== "refuse" && state !== "GONE", "the plan gives only commands that the life of an instance allows");
    const key = keyOf(instance);
    const isWritten = await this.write(term, signal, {
      compare: [unchanged(key, instance.modRevision)],
      then: [{ kind: "put", key, value: storable({ ...instance.row, state, sinceMs: this.clock.wallMs() }) }],
    });
    if (isWritten) this.log.info({ event: "instance.command", state, node: instance.node, instance: key });
  }

  /** The row of an instance on a node that is gone, with its endpoints. The node's row must still say so. */
  private async forget(term: Term, instance: PlanPlace, signal: AbortSignal): Promise<void> {
    const isWritten = await this.write(term, signal, this.forgetting(instance));
    if (isWritten) this.log.info({ event: "instance.forgotten", node: instance.node, instance: keyOf(instance) });
  }

  private forgetting(instance: PlanPlace): { readonly compare: readonly Compare[]; readonly then: readonly Op[] } {
    const key = keyOf(instance);
    const endpoints = this.ports.views.endpointsOf(instance.node, instance.artifact, instance.index);
    return {
      compare: [unchanged(key, instance.modRevision), ...this.nodeGuards(instance.node)],
      then: [key, ...endpoints.slice(0, ENDPOINTS_PER_TXN)].map((gone): Op => ({ kind: "delete", key: gone })),
    };
  }

  /** Endpoints of nodes that are gone whose row is not there: nobody else would ever remove them. */
  private async sweepEndpoints(term: Term, signal: AbortSignal): Promise<void> {
    const gone = new Set(this.ports.membership.nodes.filter(({ status }) => status === "gone").map(({ node }) => node));
    const orphans = [...this.ports.views.endpoints.rows().values()].filter(({ value }) => {
      const key = formatKey({ kind: "slice", node: value.node, artifact: value.artifact, instance: value.index });
      return gone.has(value.node) && this.ports.views.slices.get(key) === undefined;
    });
    for (const node of new Set(orphans.map(({ value }) => value.node))) {
      const keys = orphans.filter(({ value }) => value.node === node).slice(0, ENDPOINTS_PER_TXN);
      if (!this.holds(term)) return;
      const then = keys.map(({ text }): Op => ({ kind: "delete", key: text }));
      await this.confined(term, { command: "sweep endpoints", node }, signal, async () => {
        await this.write(term, signal, { compare: this.nodeGuards(node), then });
      });
    }
  }

  /** True when the transaction was applied; false when something had changed since it was planned. */
  private async write(
    term: Term,
    signal: AbortSignal,
    txn: { readonly compare: readonly Compare[]; readonly then: readonly Op[] },
  ): Promise<boolean> {
    const fence = this.ports.leadership.fence();
    // Time has passed since the last look at who leads, however little.
    if (fence === undefined) return false;
    const result = await this.ports.kv.transact(
      { compare: [fence, ...txn.compare], then: txn.then, else: [] },
      { signal, timeoutMs: WRITE_TIMEOUT_MS },
    );
    // Also a refusal: what it was refused for is to be seen before the next plan.
    term.seenRevision = Math.max(term.seenRevision, result.revision);
    if (!result.succeeded) this.log.debug({ event: "leader.write-refused", epoch: term.epoch, key: txn.then[0]?.key });
    return result.succeeded;
  }

  /** The node is still what the plan took it for. */
  private nodeGuards(node: NodeId): readonly Compare[] {
    const found = this.ports.membership.rowOf(node);
    return found === undefined ? [] : [unchanged(found.text, found.modRevision)];
  }

  private blueprintGuards(name: string): readonly Compare[] {
    const key = formatKey({ kind: "blueprint-current", name });
    const found = this.ports.views.blueprints.get(key);
    return [unchanged(key, found?.modRevision ?? 0)];
  }

  private forgetOldRows(term: Term): void {
    const { slices, rollouts } = this.ports.views;
    const isThere = (key: KeyText): boolean => slices.get(key) !== undefined || rollouts.get(key) !== undefined;
    for (const key of term.unchangedSince.keys()) if (!isThere(key)) term.unchangedSince.delete(key);
  }

  private unchangedForMs(term: Term, key: KeyText, modRevision: number): number {
    const nowMs = this.clock.nowMs();
    const known = term.unchangedSince.get(key);
    if (known?.modRevision === modRevision) return nowMs - known.atMs;
    term.unchangedSince.set(key, { modRevision, atMs: nowMs });
    return 0;
  }

  private tellUnplaced(unplaced: readonly Unplaced[]): void {
    const told = unplaced.map(({ slice, count, reason }) => `${slice}:${count}:${reason}`).join();
    if (told === this.toldUnplaced) return;
    this.toldUnplaced = told;
    for (const { blueprint, slice, count, reason } of unplaced) {
      this.log.warn({ event: "instance.no-node", blueprint, slice, count, reason: UNPLACED_TEXT[reason] });
    }
  }

  private tellLate(term: Term, waiting: readonly WaitingRollout[]): void {
    const late = new Set<string>();
    for (const { blueprint, slice, wait: { what, message, isLate } } of waiting) {
      if (!isLate) continue;
      const name = `${blueprint}/${slice} ${what}`;
      late.add(name);
      if (term.late.has(name)) continue;
      this.log.warn({ event: "rollout.late", blueprint, slice, reason: message });
      this.ports.onLateRollout({ blueprint, slice, message }, term.epoch);
    }
    term.late = late;
  }

  private tellFrozen(term: Term, frozen: ReadonlySet<string>): void {
    const reason = "it cannot be read: its instances stay as they are until it is applied again or deleted";
    for (const blueprint of frozen) {
      this.tellOnce(term, `frozen ${blueprint}`, () =>
        this.log.error({ event: "blueprint.unreadable", blueprint, reason }),
      );
    }
  }

  private tellStalled(term: Term, stalled: readonly PlanInstance[]): void {
    for (const { node, artifact, index, row, unchangedForMs } of stalled) {
      const instance = instanceKeyOf(artifact, index);
      this.tellOnce(term, `stalled ${node} ${instance} ${row.state}`, () =>
        this.log.warn({ event: "instance.stalled", node, instance, state: row.state, unchangedForMs }),
      );
    }
  }

  private tellOnce(term: Term, what: string, tell: () => void): void {
    if (term.told.has(what)) return;
    term.told.add(what);
    tell();
  }
}

/** What may have to be gone back to must be there: who wrote the current revision may have removed old ones. */
function revisionGuards(name: string, row: RolloutCommand["row"]): readonly Compare[] {
  if (row === undefined) return [];
  const key = formatKey({ kind: "blueprint", name, revision: row.previous.revision });
  return [{ key, target: "exists", op: "=", value: true }];
}

function keyOf({ node, artifact, index }: PlanPlace): KeyText {
  return formatKey({ kind: "slice", node, artifact, instance: index });
}

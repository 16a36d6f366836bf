// Owns: one instance on this node: carrying out its commands and reporting, one step after the other.
// Does not own: what to do next (core/instance-step.ts), the worker (InstanceHost), which instances there are.
//
// Every write compares the row's modRevision with the last one known here. After each wait the loop looks at the row
// and the worker afresh; nothing else is remembered but why the worker was lost and which methods the instance has.
import { assert, present, unreachable } from "../../base/assert.ts";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { ArtifactId, NodeId } from "../../base/ids.ts";
import { MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { instanceSpecOf, parseResolvedBlueprint } from "../../slices/core/blueprint.ts";
import { parseInstanceRow, type InstanceRow } from "../../slices/core/instance-row.ts";
import { instanceKeyOf, type InstanceSpec } from "../../slices/core/instance-spec.ts";
import { hasEndpoints, nextState, type InstanceEvent, type InstanceState } from "../../slices/core/lifecycle.ts";
import type { InstanceHost, MethodSpec } from "../../slices/host/instance-host.ts";
import type { InstanceKey } from "../../slices/host/running-instances.ts";
import { failedRow, isFatal, STABLE_AFTER_MS } from "./core/failure-class.ts";
import { nextAction, type WorkerState } from "./core/instance-step.ts";
import { storable } from "../core/plain-value.ts";
import type { EndpointRow } from "../core/rows.ts";
import { isPassing, type StoreOutage } from "../store-outage.ts";
import { Wake } from "../wake.ts";

/** How long each work may take; at the limit it is stopped and the instance has failed. */
export interface InstanceTimeLimits {
  readonly loadingMs: number;
  readonly activatingMs: number;
  readonly deactivatingMs: number;
  readonly unloadingMs: number;
  /** By how much a node may be late, with beginning a command or with saying that a work has ended. */
  readonly lateMs: number;
}

export const INSTANCE_TIME_LIMITS: InstanceTimeLimits = {
  loadingMs: 2 * MINUTE_MS,
  activatingMs: MINUTE_MS,
  deactivatingMs: 30 * SECOND_MS,
  unloadingMs: 2 * MINUTE_MS,
  lateMs: 30 * SECOND_MS,
};

export interface InstanceDriverPorts {
  readonly clock: Clock;
  readonly log: Log;
  readonly kv: Kv;
  readonly host: InstanceHost;
  readonly outage: StoreOutage;
  readonly limits: InstanceTimeLimits;
  /** The endpoints that the store has of this instance, also those of an earlier life of this node. */
  endpointsOf(artifact: ArtifactId, index: number): readonly KeyText[];
}

/** Which instance, on which node. */
export interface InstanceIdentity {
  readonly node: NodeId;
  readonly artifact: ArtifactId;
  readonly index: number;
}

const WRITE_TIMEOUT_MS = 5 * SECOND_MS;
const DISCARD_AGAIN_MS = 5 * SECOND_MS;
/** Endpoints and the row change in one transaction, which has at most 128 operations. */
export const METHODS_MAX = 120;

export class InstanceDriver {
  readonly instance: InstanceKey;
  readonly identity: InstanceIdentity;
  private readonly ports: InstanceDriverPorts;
  private readonly key: KeyText;
  private readonly wake: Wake;
  private row: InstanceRow | undefined;
  /** Of the last change known here, be it a write, a view or a deletion. */
  private modRevision = 0;
  /** A view has shown that the row is gone. Before, an old view would bring an ended driver back to life. */
  private isSeenGone = false;
  /** What the store has does not parse. Nothing is done until somebody writes a row that does; what runs goes on. */
  private isUnreadable = false;
  private lost: string | undefined;
  private methods: readonly MethodSpec[] = [];
  private activeSinceMs: number | undefined;
  /** Ends the work under way when the row it was begun for is no more what it was. */
  private work: AbortController | undefined;

  constructor(ports: InstanceDriverPorts, identity: InstanceIdentity) {
    this.ports = ports;
    this.identity = identity;
    this.instance = instanceKeyOf(identity.artifact, identity.index);
    this.key = formatKey({ kind: "slice", node: identity.node, artifact: identity.artifact, instance: identity.index });
    this.wake = new Wake(ports.clock);
  }

  /**
   * Takes what a view shows: the row of `revision`, or that there was none at `revision`.
   * A view that is behind what is known here is ignored.
   */
  observe(row: InstanceRow | undefined, revision: number): void {
    const isNews = revision > this.modRevision && (row !== undefined || this.row !== undefined);
    if (isNews) {
      this.learn(row, revision);
      this.work?.abort(new AetherError("E_CONFLICT", "the row was overwritten while its work was under way"));
    }
    this.isSeenGone = row === undefined && revision >= this.modRevision;
    this.wake.notify();
  }

  /** The worker ended and nobody had asked for it. */
  noteLost(reason: string): void {
    this.lost = reason;
    this.wake.notify();
  }

  /** Works until there is neither row nor worker. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const action = this.isUnreadable ? "rest" : nextAction(this.state(), this.worker());
      try {
        if (action !== "rest") await this.act(action, signal);
        else if (this.row === undefined && this.isSeenGone && !this.isUnreadable) return;
        else await this.wake.wait(signal);
        if (action !== "rest") this.ports.outage.noteSuccess();
      } catch (error) {
        signal.throwIfAborted();
        await this.recover(error, signal);
      }
    }
  }

  /** Writes that the instance does not serve any more because its node stops. Only after `run` has ended. */
  async giveUp(reason: string, signal: AbortSignal): Promise<void> {
    if (this.isUnreadable || this.row === undefined || nextState(this.row.state, "lost") === "refuse") return;
    await this.writeFailed("lost", new AetherError("E_UNAVAILABLE", reason), { signal, attempt: 0 });
  }

  /** Has the row say what went wrong, or waits until the store is there again. */
  private async recover(thrown: unknown, signal: AbortSignal): Promise<void> {
    let obstacle = thrown;
    // What the store will never take is the fault of this instance, and not of its node.
    if (thrown instanceof AetherError && isFatal(thrown) && nextState(this.state(), "fail") !== "refuse") {
      try {
        return await this.writeWorkFailed(thrown, signal);
      } catch (error) {
        signal.throwIfAborted();
        obstacle = error;
      }
    }
    await this.ports.clock.sleep(this.ports.outage.noteFailure(obstacle), signal);
    await this.readAgain(signal);
  }

  private state(): InstanceState {
    return this.row?.state ?? "GONE";
  }

  private worker(): WorkerState {
    const hosted = this.ports.host.hosted().get(this.instance);
    if (hosted === undefined) return this.lost === undefined ? "absent" : "lost";
    return hosted === "loaded" || hosted === "active" ? hosted : "unsettled";
  }

  private async act(action: Exclude<ReturnType<typeof nextAction>, "rest">, signal: AbortSignal): Promise<void> {
    switch (action) {
      case "load":
        return this.load(signal);
      case "activate":
        return this.activate(signal);
      case "deactivate":
        return this.deactivate(signal);
      case "unload":
        return this.unload(signal);
      case "report":
        return this.report(signal);
      case "fail":
        return this.fail(signal);
      case "discard":
        return this.discard(signal);
      default:
        return unreachable(action);
    }
  }

  private async load(signal: AbortSignal): Promise<void> {
    if (!(await this.begin(signal))) return;
    const { row } = this;
    if (row === undefined) return;
    this.lost = undefined;
    await this.runWork("loading", this.ports.limits.loadingMs, signal, async (work) =>
      this.ports.host.load(await this.readSpec(row, work), work),
    );
  }

  /** The revision of the blueprint that the row names is older than the row, so it is applied here. */
  private async readSpec(row: InstanceRow, signal: AbortSignal): Promise<InstanceSpec> {
    const { blueprint: name, revision, slice } = row;
    const key = formatKey({ kind: "blueprint", name, revision });
    const { entry } = await this.ports.kv.get(key, { signal, consistency: "local" });
    const blueprint = entry === undefined ? undefined : parseResolvedBlueprint(entry.value);
    const { artifact, index } = this.identity;
    if (blueprint?.slices[slice]?.artifact === artifact) return instanceSpecOf(blueprint, slice, index);
    const missing = `revision ${revision} of blueprint "${name}" is not there any more, or has no ${artifact}`;
    throw new AetherError("E_NOT_FOUND", `${missing}: apply the blueprint again`);
  }

  private async activate(signal: AbortSignal): Promise<void> {
    if (!(await this.begin(signal))) return;
    await this.runWork("activating", this.ports.limits.activatingMs, signal, async (work) => {
      this.methods = await this.ports.host.activate(this.instance, work);
    });
  }

  private async deactivate(signal: AbortSignal): Promise<void> {
    // The endpoints go first: nobody may find an instance that is about to refuse.
    if (!(await this.begin(signal, this.deleteEndpoints()))) return;
    await this.runWork("deactivating", this.ports.limits.deactivatingMs, signal, (work) =>
      this.ports.host.deactivate(this.instance, work),
    );
  }

  private async unload(signal: AbortSignal): Promise<void> {
    if (!(await this.begin(signal, this.deleteEndpoints()))) return;
    const failure = await this.endWorker();
    // Meanwhile the leader may have given up on this node, or may have ordered it anew.
    if (this.state() !== "UNLOADING") return;
    if (failure !== undefined) return this.writeWorkFailed(failure, signal);
    await this.write(undefined, [{ kind: "delete", key: this.key }], signal);
  }

  /** Ends a worker that should not be there; the row stays as it is. */
  private async discard(signal: AbortSignal): Promise<void> {
    const failure = await this.endWorker();
    if (failure !== undefined) await this.ports.clock.sleep(DISCARD_AGAIN_MS, signal);
  }

  /** Writes the …ING state of a command; true when the row has it, now or already. */
  private async begin(signal: AbortSignal, ops: readonly Op[] = []): Promise<boolean> {
    if (nextState(this.state(), "begin") === "refuse") return true;
    return this.transition("begin", signal, ops);
  }

  private async report(signal: AbortSignal): Promise<void> {
    const isActivation = this.state() === "ACTIVATING";
    const count = this.methods.length;
    if (isActivation && count > METHODS_MAX) return this.writeWorkFailed(tooManyMethods(count), signal);
    const isWritten = await this.transition("done", signal, isActivation ? this.putEndpoints() : []);
    if (isWritten && isActivation) this.activeSinceMs = this.ports.clock.nowMs();
  }

  /** The row claims something that does not run here. */
  private async fail(signal: AbortSignal): Promise<void> {
    const reason = this.lost ?? "the instance does not run on this node; the node or its worker restarted";
    const nowMs = this.ports.clock.nowMs();
    const isStable = this.activeSinceMs !== undefined && nowMs - this.activeSinceMs >= STABLE_AFTER_MS;
    const attempt = isStable ? 0 : present(this.row, "a row that fails is there").attempt;
    await this.writeFailed("lost", new AetherError("E_UNAVAILABLE", reason), { signal, attempt });
  }

  /** Runs work of the host within its limit; a failure becomes FAILED, unless the row was overwritten meanwhile. */
  private async runWork(
    name: string,
    limitMs: number,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const controller = new AbortController();
    const state = this.state();
    this.work = controller;
    const limit = this.ports.clock.setTimer(limitMs, () => {
      controller.abort(new AetherError("E_TIMEOUT", `${name} took longer than ${limitMs} ms and was stopped`));
    });
    try {
      await work(AbortSignal.any([signal, controller.signal]));
    } catch (error) {
      signal.throwIfAborted();
      const cause = controller.signal.aborted ? (controller.signal.reason as unknown) : error;
      if (this.state() === state) await this.writeWorkFailed(toAetherError(cause), signal);
    } finally {
      limit.cancel();
      this.work = undefined;
    }
  }

  /** Returns why the worker could not be ended in time, if so. */
  private async endWorker(): Promise<AetherError | undefined> {
    const { clock, host, limits, log } = this.ports;
    const late = createDeferred<never>();
    const limit = clock.setTimer(limits.unloadingMs, () => {
      const message = `unloading took longer than ${limits.unloadingMs} ms; it is tried again`;
      late.reject(new AetherError("E_TIMEOUT", message));
    });
    this.lost = undefined;
    try {
      await Promise.race([host.unload(this.instance), late.promise]);
      return undefined;
    } catch (error) {
      const failure = toAetherError(error);
      const { code, message: reason } = failure;
      log.error({ event: "instance.unload-failed", instance: this.instance, code, reason });
      return failure;
    } finally {
      limit.cancel();
    }
  }

  private async writeWorkFailed(error: AetherError, signal: AbortSignal): Promise<void> {
    const attempt = present(this.row, "a row whose work fails is there").attempt;
    await this.writeFailed("fail", error, { signal, attempt });
  }

  private async writeFailed(
    event: "fail" | "lost",
    error: AetherError,
    { signal, attempt }: { readonly signal: AbortSignal; readonly attempt: number },
  ): Promise<void> {
    const row = present(this.row, "a row that fails is there");
    assert(nextState(row.state, event) === "FAILED", "an instance fails only where its life allows it");
    const failed = failedRow(row, error, { nowWallMs: this.ports.clock.wallMs(), attempt });
    if (!(await this.writeRow(failed, this.deleteEndpoints(), signal))) return;
    this.lost = undefined;
    this.activeSinceMs = undefined;
    const { code, message: reason } = error;
    this.ports.log.warn({ event: "instance.failed", instance: this.instance, slice: row.slice, code, reason, attempt });
  }

  private async transition(event: InstanceEvent, signal: AbortSignal, ops: readonly Op[]): Promise<boolean> {
    const row = present(this.row, "a row that changes state is there");
    const state = nextState(row.state, event);
    assert(state !== "refuse" && state !== "GONE", "the table of steps follows the life of an instance");
    // What failed before is history once it serves.
    const base = state === "ACTIVE" ? { ...row, error: undefined } : row;
    const isWritten = await this.writeRow({ ...base, state, sinceMs: this.ports.clock.wallMs() }, ops, signal);
    if (isWritten) this.ports.log.info({ event: "instance.state", instance: this.instance, slice: row.slice, state });
    return isWritten;
  }

  private writeRow(row: NextRow, ops: readonly Op[], signal: AbortSignal): Promise<boolean> {
    const value = storable(row);
    return this.write(parseInstanceRow(value), [{ kind: "put", key: this.key, value }, ...ops], signal);
  }

  /** False when somebody else has written the row, before or at once after; what they wrote is known then. */
  private async write(row: InstanceRow | undefined, ops: readonly Op[], signal: AbortSignal): Promise<boolean> {
    const result = await this.ports.kv.transact({
      compare: [unchanged(this.key, this.modRevision)],
      then: ops,
      else: [{ kind: "get", key: this.key }],
    }, { signal, timeoutMs: WRITE_TIMEOUT_MS });
    if (!result.succeeded) this.learnEntry(entryOf(result.results[0]), result.revision);
    // The view may have shown a still newer row while this write was under way.
    else if (result.revision >= this.modRevision) this.learn(row, result.revision);
    return result.succeeded && this.modRevision === result.revision;
  }

  /** After a write whose outcome is unknown only the store can say what the row is. */
  private async readAgain(signal: AbortSignal): Promise<void> {
    try {
      const { entry, revision } = await this.ports.kv.get(this.key, { signal });
      this.learnEntry(entry, revision);
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(toAetherError(error))) throw error;
      // ignored: the store is still away; the next step will fail on its compare or succeed
    }
  }

  private learnEntry(entry: KvEntry | undefined, revision: number): void {
    if (entry === undefined) this.learn(undefined, Math.max(this.modRevision, revision));
    else if (entry.modRevision > this.modRevision) this.learnStored(entry);
  }

  private learnStored({ key, value, modRevision }: KvEntry): void {
    try {
      this.learn(parseInstanceRow(value), modRevision);
    } catch (error) {
      // One damaged row must not end its node, nor what it may still want to run; a person has to look at it.
      const { code, message: reason } = toAetherError(error);
      this.ports.log.error({ event: "cluster.bad-row", key, code, reason });
      this.isUnreadable = true;
      this.modRevision = modRevision;
    }
  }

  private learn(row: InstanceRow | undefined, modRevision: number): void {
    this.row = row;
    this.modRevision = modRevision;
    this.isUnreadable = false;
    this.wake.notify();
  }

  private putEndpoints(): readonly Op[] {
    const specDigest = this.row?.specDigest;
    return this.methods.map(({ method, ...spec }): Op => {
      const value: EndpointRow = { ...spec, ...(specDigest === undefined ? {} : { specDigest }) };
      return { kind: "put", key: this.endpointKey(method), value };
    });
  }

  private deleteEndpoints(): readonly Op[] {
    const { artifact, index } = this.identity;
    // The view may not show yet what this driver has just written.
    const own = hasEndpoints(this.state()) ? this.methods.map(({ method }) => this.endpointKey(method)) : [];
    const keys = new Set([...own, ...this.ports.endpointsOf(artifact, index)]);
    return [...keys].map((key): Op => ({ kind: "delete", key }));
  }

  private endpointKey(method: string): KeyText {
    const { node, artifact, index } = this.identity;
    const slice = present(this.row, "an instance with endpoints has a row").slice;
    return formatKey({ kind: "endpoint", slice, method, node, artifact, instance: index });
  }
}

/** A row about to be written; fields that are undefined are left out. */
type NextRow = Omit<InstanceRow, "error"> & { readonly error?: InstanceRow["error"] | undefined };

function tooManyMethods(count: number): AetherError {
  return new AetherError("E_TOO_LARGE", `the slice has ${count} methods; split it, ${METHODS_MAX} is the limit`, {
    details: { limit: METHODS_MAX, actual: count },
  });
}

function entryOf(result: { readonly kind: string; readonly entry?: KvEntry } | undefined): KvEntry | undefined {
  return result?.kind === "get" ? result.entry : undefined;
}

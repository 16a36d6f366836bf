// Owns: the instances of this node: one driver per row or worker, the comparison of both at start and every 10 s, and
// an orderly end. Does not own: what is wanted (the leader), the work on one instance (instance-driver.ts).
//
// After a start nothing runs here, whatever the rows say: rows that claim otherwise become FAILED, with their endpoints
// removed, and the leader loads them here again. Only then does the node go on duty. A node that stops in order leaves
// such rows with attempt 0, which are loaded again at once, so a rolling restart moves nothing: the leader waits until
// the node is back or gone. After a crash, what may have caused it waits as after any failure.
import { createDeferred } from "../../base/deferred.ts";
import { AetherError, toAetherError } from "../../base/errors.ts";
import { parseArtifactId, type ArtifactId, type NodeId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import { TaskScope } from "../../base/task-scope.ts";
import type { Clock } from "../../env/clock.ts";
import type { Log, Telemetry } from "../../env/telemetry.ts";
import type { Group } from "../../consensus/group.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, knownKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, Op } from "../../kvstore/core/schema.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { parseInstanceRow, type InstanceRow } from "../../slices/core/instance-row.ts";
import { instanceKeyOf } from "../../slices/core/instance-spec.ts";
import { nextState } from "../../slices/core/lifecycle.ts";
import { listRows } from "../../slices/list-rows.ts";
import type { InstanceHost } from "../../slices/host/instance-host.ts";
import type { InstanceKey } from "../../slices/host/running-instances.ts";
import type { ClusterViews } from "../cluster-views.ts";
import { attemptAfterCrash, failedRow } from "./core/failure-class.ts";
import { storable } from "../core/plain-value.ts";
import { INSTANCE_TIME_LIMITS, InstanceDriver, type InstanceTimeLimits } from "./instance-driver.ts";
import type { MembershipService } from "../membership/membership-service.ts";
import { StoreOutage, throughOutage } from "../store-outage.ts";
import { Wake } from "../wake.ts";

export interface NodeDeploymentPorts {
  readonly kv: Kv;
  readonly host: InstanceHost;
  readonly group: Pick<Group, "status">;
  readonly views: Pick<ClusterViews, "slices" | "endpoints" | "endpointsOf" | "unreadableInstances">;
  readonly membership: Pick<MembershipService, "setStage" | "untilPeersHaveApplied">;
  readonly onFatal: (error: unknown) => void;
}

/** What an instance may take when its node stops. */
export interface InstanceStopLimits {
  /** For calls in flight. */
  readonly drainMs: number;
  /** For them and `stop()`. */
  readonly stopMs: number;
}

export interface NodeDeploymentConfig {
  readonly node: NodeId;
  readonly limits?: InstanceTimeLimits;
  readonly stop?: InstanceStopLimits;
}

const FULL_COMPARE_EVERY_MS = 10 * SECOND_MS;
export const DRAIN_MS = 10 * SECOND_MS;
const STOP_LIMITS: InstanceStopLimits = { drainMs: DRAIN_MS, stopMs: DRAIN_MS + 6 * SECOND_MS };
/** An orderly stop does not wait longer for peers to learn that its endpoints are gone. */
export const CALLERS_KNOW_MS_MAX = SECOND_MS;
/** An orderly stop does not wait longer for a store that is away. */
export const GIVE_UP_WRITE_MS = 2 * SECOND_MS;
const START_POLL_MS = 100;
const ENDPOINTS_PER_TXN = 100;

export class NodeDeploymentManager {
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly ports: NodeDeploymentPorts;
  private readonly config: NodeDeploymentConfig;
  private readonly outage: StoreOutage;
  private readonly wake: Wake;
  private readonly scope: TaskScope;
  private readonly drivers = new Map<InstanceKey, InstanceDriver>();

  constructor(
    env: { readonly clock: Clock; readonly telemetry: Telemetry },
    ports: NodeDeploymentPorts,
    config: NodeDeploymentConfig,
  ) {
    this.clock = env.clock;
    this.log = env.telemetry.log;
    this.ports = ports;
    this.config = config;
    this.outage = new StoreOutage(this.log, "node-deployment");
    this.wake = new Wake(this.clock);
    this.scope = new TaskScope((_task, error) => ports.onFatal(error));
    ports.views.slices.subscribe(() => this.wake.notify());
    ports.host.onLost((key, reason) => this.drivers.get(key)?.noteLost(reason));
  }

  start(): void {
    this.scope.spawn("node-deployment", (signal) => this.run(signal));
  }

  /** Instances that this node drives now. */
  get instances(): readonly InstanceKey[] {
    return [...this.drivers.keys()];
  }

  /** For an orderly end of the node: endpoints away, calls in flight answered (bounded), workers ended. */
  async drainAndStop(): Promise<void> {
    this.ports.membership.setStage("stopping");
    await this.scope.close();
    const drivers = [...this.drivers.values()];
    await Promise.all(drivers.map((driver) => this.drain(driver)));
    this.drivers.clear();
    if (drivers.length > 0) await this.untilCallersKnow();
  }

  /** Stops driving; what runs goes on running. */
  async close(): Promise<void> {
    await this.scope.close();
  }

  private async run(signal: AbortSignal): Promise<void> {
    await this.recover(signal);
    this.ports.membership.setStage("serving");
    while (!signal.aborted) {
      this.compare();
      await this.wake.wait(signal, FULL_COMPARE_EVERY_MS);
    }
  }

  /** Until the store knows that nothing of an earlier life of this node runs. */
  private async recover(signal: AbortSignal): Promise<void> {
    while (!this.ports.group.status().isReady) await this.clock.sleep(START_POLL_MS, signal);
    await throughOutage(this.clock, this.outage, () => this.failEarlierLife(signal), signal);
  }

  private async failEarlierLife(signal: AbortSignal): Promise<void> {
    const { node } = this.config;
    const endpoints = await listRows(this.ports.kv, prefixOf({ kind: "endpoints" }), { signal });
    const orphans = byInstance(endpoints.map(({ key }) => key), node);
    for (const entry of await listRows(this.ports.kv, prefixOf({ kind: "slices", node }), { signal })) {
      // A row of a kind that only a later build knows: that build sees to it.
      if (knownKey(entry.key) === undefined) continue;
      if (await this.failRow(entry, orphans.get(entry.key) ?? [], signal)) orphans.delete(entry.key);
    }
    await this.deleteOrphans([...orphans.values()].flat(), signal);
  }

  /** True when the endpoints are gone with the row. A row that changes under our hands is left to its driver. */
  private async failRow(entry: KvEntry, endpoints: readonly KeyText[], signal: AbortSignal): Promise<boolean> {
    const row = this.parseRow(entry);
    // LOAD, UNLOAD and FAILED claim nothing: the drivers just go on from there.
    if (row === undefined || nextState(row.state, "lost") === "refuse") return false;
    const error = new AetherError("E_UNAVAILABLE", "the node restarted");
    const nowWallMs = this.clock.wallMs();
    const failed = failedRow(row, error, { nowWallMs, attempt: attemptAfterCrash(row, nowWallMs) });
    const result = await this.ports.kv.transact({
      compare: [unchanged(entry.key, entry.modRevision)],
      then: [{ kind: "put", key: entry.key, value: storable(failed) }, ...endpoints.map(deletion)],
      else: [],
    }, { signal });
    return result.succeeded;
  }

  private parseRow(entry: KvEntry): InstanceRow | undefined {
    try {
      return parseInstanceRow(entry.value);
    } catch (error) {
      // One damaged row must not keep the node from its other instances; a person has to look at it.
      this.log.error({ event: "cluster.bad-row", key: entry.key, reason: toAetherError(error).message });
      return undefined;
    }
  }

  /** Nothing of this node serves yet, so each of its endpoints is a leftover. */
  private async deleteOrphans(keys: readonly KeyText[], signal: AbortSignal): Promise<void> {
    for (let from = 0; from < keys.length; from += ENDPOINTS_PER_TXN) {
      const then = keys.slice(from, from + ENDPOINTS_PER_TXN).map(deletion);
      await this.ports.kv.transact({ compare: [], then, else: [] }, { signal });
    }
  }

  /** Both directions: every row of this node has a driver that knows it, and so has every worker without a row. */
  private compare(): void {
    const { slices } = this.ports.views;
    if (!slices.isComplete) return;
    const rowless = new Set([...this.drivers.keys(), ...this.ports.host.hosted().keys()]);
    for (const { modRevision, value } of slices.rows().values()) {
      if (value.node !== this.config.node) continue;
      rowless.delete(instanceKeyOf(value.artifact, value.index));
      this.tell(value, value.row, modRevision);
    }
    // A row that cannot be read says nothing, also not that its instance should end: it stays as it is.
    for (const { node, artifact, index } of this.ports.views.unreadableInstances()) {
      if (node === this.config.node) rowless.delete(instanceKeyOf(artifact, index));
    }
    for (const instance of rowless) this.tell(partsOf(instance), undefined, slices.revision);
  }

  /** Tells the driver of an instance about its row; a new driver starts with that knowledge. */
  private tell({ artifact, index }: InstanceParts, row: InstanceRow | undefined, revision: number): void {
    const instance = instanceKeyOf(artifact, index);
    const known = this.drivers.get(instance);
    const driver = known ?? this.openDriver(artifact, index);
    driver.observe(row, revision);
    if (known !== undefined) return;
    this.drivers.set(instance, driver);
    this.scope.spawn(instance, (signal) => this.drive(driver, signal));
  }

  private openDriver(artifact: ArtifactId, index: number): InstanceDriver {
    const { kv, host, views } = this.ports;
    return new InstanceDriver({
      clock: this.clock,
      log: this.log,
      kv,
      host,
      outage: this.outage,
      limits: this.config.limits ?? INSTANCE_TIME_LIMITS,
      endpointsOf: () => views.endpointsOf(this.config.node, artifact, index),
    }, { node: this.config.node, artifact, index });
  }

  private async drive(driver: InstanceDriver, signal: AbortSignal): Promise<void> {
    await driver.run(signal);
    // An orderly stop still has to end what this driver drove.
    if (signal.aborted) return;
    this.drivers.delete(driver.instance);
    // A row that came in the very turn in which the driver ended finds a new one.
    this.wake.notify();
  }

  /**
   * Until every peer knows that the endpoints are gone. What it sends before is refused here, and goes elsewhere; what
   * is on its way when the process ends may have been done or not, as far as the caller can tell.
   */
  private async untilCallersKnow(): Promise<void> {
    const late = new AbortController();
    const limit = this.clock.setTimer(CALLERS_KNOW_MS_MAX, () => late.abort());
    try {
      await this.ports.membership.untilPeersHaveApplied(late.signal);
    } catch {
      this.log.warn({ event: "node.left-early", waitedMs: CALLERS_KNOW_MS_MAX });
    } finally {
      limit.cancel();
    }
  }

  private async drain(driver: InstanceDriver): Promise<void> {
    const { host } = this.ports;
    await this.within(GIVE_UP_WRITE_MS, (signal) => driver.giveUp("the node stopped", signal));
    if (host.hosted().get(driver.instance) === "active") {
      const { drainMs, stopMs } = this.config.stop ?? STOP_LIMITS;
      const limits = { drainMsMax: drainMs };
      await this.within(stopMs, (signal) => host.deactivate(driver.instance, signal, limits));
    }
    await this.within(GIVE_UP_WRITE_MS, () => host.unload(driver.instance));
  }

  /** A step of an orderly stop: it may fail, the stop goes on. */
  private async within(limitMs: number, step: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const controller = new AbortController();
    const late = createDeferred<never>();
    const limit = this.clock.setTimer(limitMs, () => {
      const error = new AetherError("E_TIMEOUT", `a step of stopping the node took longer than ${limitMs} ms`);
      controller.abort(error);
      late.reject(error);
    });
    try {
      // Not every step listens to its signal.
      await Promise.race([step(controller.signal), late.promise]);
    } catch (error) {
      // Not fatal to the stop: the next start and the leader find out what is left and clean up.
      this.log.warn({ event: "node.stop-step-failed", error });
    } finally {
      limit.cancel();
    }
  }
}

function deletion(key: KeyText): Op {
  return { kind: "delete", key };
}

/** The endpoints of a node, by the rows of their instances. */
function byInstance(endpoints: readonly KeyText[], node: NodeId): Map<KeyText, KeyText[]> {
  const found = new Map<KeyText, KeyText[]>();
  for (const text of endpoints) {
    const key = knownKey(text);
    if (key?.kind !== "endpoint" || key.node !== node) continue;
    const row = formatKey({ kind: "slice", node, artifact: key.artifact, instance: key.instance });
    found.set(row, [...(found.get(row) ?? []), text]);
  }
  return found;
}

interface InstanceParts {
  readonly artifact: ArtifactId;
  readonly index: number;
}

function partsOf(instance: InstanceKey): InstanceParts {
  const slash = instance.lastIndexOf("/");
  return { artifact: parseArtifactId(instance.slice(0, slash)), index: Number(instance.slice(slash + 1)) };
}

// Owns: what people do with control, on any node: rules, pause, pins, and how slices stand.
// Does not own: what is decided (control-loop.ts).
import { AetherError } from "../base/errors.ts";
import { INSTANCES_MAX } from "../sdk/blueprint.ts";
import { unchanged } from "../kvstore/core/guards.ts";
import { formatKey, type KeyText } from "../kvstore/core/key.ts";
import type { Compare, Op } from "../kvstore/core/schema.ts";
import type { Kv, KvCallOptions } from "../kvstore/kv.ts";
import type { ClusterViews } from "../cluster/cluster-views.ts";
import type { ScaleRow } from "../slices/core/scale-row.ts";
import type { SliceFacts } from "./core/advice.ts";
import { rangeOf } from "./core/bounds.ts";
import { REASON_CHARS_MAX, type HoldRow, type RulesRow } from "./core/control-rows.ts";
import type { LoggedDecision } from "./core/decision-log.ts";
import { parseRules } from "./core/parse-rules.ts";
import { boundsOf } from "./core/rules.ts";
import type { ControlView } from "./control-view.ts";

export interface ControlServicePorts {
  readonly kv: Kv;
  readonly control: ControlView;
  readonly views: Pick<ClusterViews, "isComplete" | "scaleOf" | "blueprints">;
  readonly facts: () => ReadonlyMap<string, SliceFacts>;
  readonly recent: () => readonly LoggedDecision[];
  readonly leader: () => string | undefined;
  readonly time: { wallMs(): number };
}

export interface SliceControl {
  readonly slice: string;
  readonly blueprint: string;
  /** What the blueprint says, what there is to be now, and what serves. */
  readonly base: number;
  readonly instances: number;
  readonly active: number;
  readonly min: number;
  readonly max: number;
  readonly pinnedBy?: string;
  /** Its last change by control. */
  readonly change?: {
    readonly direction: "up" | "down"; readonly source: string; readonly reason: string; readonly at: number;
  };
}

export interface ControlStatus {
  readonly rules: {
    readonly count: number; readonly by: string; readonly at: number; readonly revision: number;
  } | null;
  readonly paused: { readonly by: string; readonly reason?: string; readonly at: number } | null;
  readonly leader: string | null;
  readonly slices: readonly SliceControl[];
  /** Of the node that answers, oldest first: only the one that leads decides. */
  readonly decisions: readonly LoggedDecision[];
}

/** Who asks, and why. */
export interface Asked {
  readonly by: string;
  readonly reason?: string;
}

const RULES = formatKey({ kind: "control-rules" });
const PAUSE = formatKey({ kind: "control-pause" });

export class ControlService {
  private readonly ports: ControlServicePorts;

  constructor(ports: ControlServicePorts) {
    this.ports = ports;
  }

  /** @throws AetherError E_INVALID with lines and columns, E_TOO_LARGE */
  async apply(text: string, { by }: Asked, options: KvCallOptions): Promise<{ readonly rules: number }> {
    const { rules } = parseRules(text);
    const row: RulesRow = { text, by, atMs: this.ports.time.wallMs() };
    await this.put([], [{ kind: "put", key: RULES, value: row }], options);
    return { rules: rules.length };
  }

  /** The rules as they were written. @throws AetherError E_NOT_FOUND */
  rules(): RulesRow {
    this.checkReady();
    const value = this.ports.control.rulesRow()?.value;
    if (value?.kind === "rules") return value.row;
    throw new AetherError("E_NOT_FOUND", "there are no rules: aether control apply FILE");
  }

  /** Slices go back to what their blueprints say. */
  async removeRules(options: KvCallOptions): Promise<void> {
    await this.put([], [{ kind: "delete", key: RULES }], options);
  }

  async pause(asked: Asked, options: KvCallOptions): Promise<void> {
    await this.put([], [{ kind: "put", key: PAUSE, value: this.holdOf(asked) }], options);
  }

  async resume(options: KvCallOptions): Promise<void> {
    await this.put([], [{ kind: "delete", key: PAUSE }], options);
  }

  /**
   * Keeps a slice as it is, or at `instances`, until it is unpinned.
   * @throws AetherError E_NOT_FOUND, E_INVALID, E_CONFLICT when its blueprint was changed at the same moment
   */
  async pin(slice: string, instances: number | undefined, asked: Asked, options: KvCallOptions): Promise<void> {
    const facts = this.factsOf(slice);
    const pin: Op = { kind: "put", key: pinKey(slice), value: this.holdOf(asked) };
    if (instances === undefined) return await this.put([], [pin], options);
    checkCount(slice, instances, facts);
    const current = formatKey({ kind: "blueprint-current", name: facts.blueprint });
    const isStill = unchanged(current, this.ports.views.blueprints.get(current)?.modRevision ?? 0);
    const row: ScaleRow = {
      blueprint: facts.blueprint,
      base: facts.base,
      instances,
      direction: instances >= facts.instances ? "up" : "down",
      source: `pinned by ${asked.by}`,
      reason: asked.reason ?? "a person wants so many",
      changedAtMs: this.ports.time.wallMs(),
    };
    const scale: Op = { kind: "put", key: formatKey({ kind: "scale", slice }), value: row };
    await this.put([isStill], [pin, scale], options);
  }

  async unpin(slice: string, options: KvCallOptions): Promise<void> {
    await this.put([], [{ kind: "delete", key: pinKey(slice) }], options);
  }

  /** @throws AetherError E_UNAVAILABLE while this node has not read it */
  status(): ControlStatus {
    this.checkReady();
    const { control, facts, recent, leader } = this.ports;
    const found = control.rulesRow();
    const rules = found?.value.kind === "rules"
      ? { count: found.value.rules.rules.length, by: found.value.row.by, at: found.value.row.atMs,
          revision: found.modRevision }
      : null;
    const pause = control.pauseRow();
    const paused = pause === undefined ? null : heldOf(pause);
    const slices = [...facts()].map(([slice, one]) => this.sliceOf(slice, one));
    return { rules, paused, leader: leader() ?? null, slices, decisions: recent() };
  }

  private sliceOf(slice: string, facts: SliceFacts): SliceControl {
    const { blueprint, base, instances, active, pinnedBy } = facts;
    const range = rangeOf(facts, boundsOf(this.ports.control.rules(), slice));
    const row = this.ports.views.scaleOf(slice)?.value;
    return {
      slice, blueprint, base, instances, active, ...range,
      ...(pinnedBy === undefined ? {} : { pinnedBy }),
      ...(row === undefined ? {} : {
        change: { direction: row.direction, source: row.source, reason: row.reason, at: row.changedAtMs },
      }),
    };
  }

  private factsOf(slice: string): SliceFacts {
    this.checkReady();
    const facts = this.ports.facts().get(slice);
    if (facts !== undefined) return facts;
    throw new AetherError("E_NOT_FOUND", `no blueprint has a slice "${slice}"`, { details: { slice } });
  }

  private checkReady(): void {
    if (this.ports.control.isComplete && this.ports.views.isComplete) return;
    throw new AetherError("E_UNAVAILABLE", "this node has not read the rows yet: ask again in a moment");
  }

  private holdOf({ by, reason }: Asked): HoldRow {
    const why = reason === undefined ? {} : { reason: reason.slice(0, REASON_CHARS_MAX) };
    return { by, ...why, atMs: this.ports.time.wallMs() };
  }

  private async put(compare: readonly Compare[], then: readonly Op[], options: KvCallOptions): Promise<void> {
    const written = await this.ports.kv.transact({ compare, then, else: [] }, options);
    if (written.succeeded) return;
    throw new AetherError("E_CONFLICT", "the blueprint of the slice was changed at the same moment: try again");
  }
}

function pinKey(slice: string): KeyText {
  return formatKey({ kind: "control-pin", slice });
}

function heldOf({ by, reason, atMs }: HoldRow) {
  return { by, ...(reason === undefined ? {} : { reason }), at: atMs };
}

function checkCount(slice: string, instances: number, { base, minAvailable }: SliceFacts): void {
  if (base === 0) {
    throw new AetherError("E_INVALID", `the blueprint of ${slice} wants no instance of it: scale it there first`);
  }
  const least = Math.max(1, minAvailable);
  if (Number.isInteger(instances) && instances >= least && instances <= INSTANCES_MAX) return;
  const message = `the slice "${slice}" cannot be pinned at ${instances}: use ${least} to ${INSTANCES_MAX}`;
  throw new AetherError("E_INVALID", message, { details: { limit: INSTANCES_MAX, actual: instances } });
}

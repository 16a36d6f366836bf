// Owns: what the ledger of a job has to be, from the events of its log.
import type { EffectId } from "../ids.ts";
import type { JobEvent } from "../log/event.ts";
import { isSameData } from "../../../slices/core/canonical.ts";
import type { ToolRow } from "../tools/tool-row.ts";

type Granting = Extract<JobEvent, { readonly type: "tool.granted" | "tool.doubted" }>;
type OfCall = Extract<JobEvent, { readonly effectId: EffectId }>;

/** A row as events tell it. */
interface Told extends Omit<ToolRow, "canReconcile" | "externalId"> {
  /** Absent where the log does not say. */
  readonly canReconcile?: boolean;
  /** `any`: an answer that came late is in the row alone. */
  readonly externalId: string | undefined | "any";
}

const ANY = "any";
const FIELDS = [
  "state", "effectId", "call", "tool", "effect", "epoch", "attempt", "inputDigest", "timeoutMs", "seq", "reason",
  "usage", "reserved", "cost",
] as const;

export class LedgerFold {
  private readonly rows = new Map<EffectId, Told>();

  /** What is wrong with the event; undefined for any that may follow. */
  add(event: JobEvent, { seq, epoch }: { readonly seq: number; readonly epoch: number }): string | undefined {
    if (!("effectId" in event)) return undefined;
    const { effectId } = event;
    if (event.type === "tool.granted" || event.type === "tool.doubted") {
      this.rows.set(effectId, begun(event, seq, epoch));
      return undefined;
    }
    const row = this.rows.get(effectId);
    if (row === undefined || row.call !== event.call) return `it is about a call of ${event.call} that nobody granted`;
    this.rows.set(effectId, { ...after(row, event), seq });
    return undefined;
  }

  get effects(): readonly EffectId[] {
    return [...this.rows.keys()];
  }

  /** Calls that are granted or unknown. */
  get open(): number {
    return [...this.rows.values()].filter(({ state }) => state === "granted" || state === "unknown").length;
  }

  /** Number of the event that made the row as it is; undefined for a call that the log does not have. */
  seqOf(effectId: EffectId): number | undefined {
    return this.rows.get(effectId)?.seq;
  }

  /** A row of the ledger as it was after the events so far; undefined when its call had not begun. */
  rowAs(row: ToolRow): ToolRow | undefined {
    const told = this.rows.get(row.effectId);
    if (told === undefined) return undefined;
    const { canReconcile = row.canReconcile, externalId: toldId, ...rest } = told;
    const externalId = toldId === ANY ? row.externalId : toldId;
    return { ...rest, canReconcile, ...(externalId !== undefined && { externalId }) };
  }

  /** The first field in which a row is not what the log says. */
  difference(row: ToolRow): string | undefined {
    const told = this.rows.get(row.effectId);
    if (told === undefined) return "effectId";
    const field = FIELDS.find((name) => !isSameData(row[name] ?? null, told[name] ?? null));
    if (field !== undefined) return field;
    if (told.canReconcile !== undefined && told.canReconcile !== row.canReconcile) return "canReconcile";
    return told.externalId === ANY || told.externalId === row.externalId ? undefined : "externalId";
  }
}

function begun(event: Granting, seq: number, epoch: number): Told {
  const { effectId, call, tool, effect, attempt, inputDigest, timeoutMs, canReconcile } = event;
  return {
    state: event.type === "tool.granted" ? "granted" : "unknown",
    effectId, call, tool, effect, epoch, attempt, inputDigest, timeoutMs, seq,
    ...(canReconcile !== undefined && { canReconcile }),
    ...(event.type === "tool.doubted" && { reason: event.reason }),
    ...(event.reserved !== undefined && { reserved: event.reserved }),
    externalId: undefined,
  };
}

function after({ reason: _reason, reserved, ...row }: Told, event: Exclude<OfCall, Granting>): Told {
  switch (event.type) {
    case "tool.succeeded":
      return {
        ...row, state: "succeeded", externalId: event.externalId ?? row.externalId,
        ...(event.usage !== undefined && { usage: event.usage }),
        ...(event.cost !== undefined && { cost: event.cost }),
      };
    case "tool.failed":
      return { ...row, state: "failed", ...(event.cost !== undefined && { cost: event.cost }) };
    case "tool.unknown":
      return { ...row, ...(reserved !== undefined && { reserved }), state: "unknown", reason: event.reason };
    case "tool.resolved":
      return {
        ...row,
        state: event.resolution.kind === "done" ? "succeeded" : "failed",
        externalId: event.by.kind === "late" ? ANY : row.externalId,
      };
  }
}

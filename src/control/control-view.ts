// Owns: this node's live copy of the rules, the pause and the pins. Rules are read from their text once per change.
import { formatKey, prefixOf, type AetherKey } from "../kvstore/core/key.ts";
import type { Kv } from "../kvstore/kv.ts";
import { RowView, type Row, type RowViewEnv } from "../cluster/row-view.ts";
import { holderOf, parseHoldRow, parseRulesRow, type HoldRow, type RulesRow } from "./core/control-rows.ts";
import { parseRules } from "./core/parse-rules.ts";
import { NO_RULES, type RuleSet } from "./core/rules.ts";

export type ControlValue =
  | { readonly kind: "rules"; readonly row: RulesRow; readonly rules: RuleSet }
  | { readonly kind: "pause"; readonly row: HoldRow }
  | { readonly kind: "pin"; readonly slice: string; readonly row: HoldRow };

const RULES = formatKey({ kind: "control-rules" });
const PAUSE = formatKey({ kind: "control-pause" });

export class ControlView {
  private readonly rows: RowView<ControlValue>;

  constructor(env: RowViewEnv, kv: Kv) {
    this.rows = new RowView(env, kv, prefixOf({ kind: "control" }), parseControl);
  }

  open(): void {
    this.rows.open();
  }

  async close(): Promise<void> {
    await this.rows.close();
  }

  get isComplete(): boolean {
    return this.rows.isComplete;
  }

  /** What cannot be read any more is no rule: nothing is decided by what nobody can see. */
  rules(): RuleSet {
    const value = this.rows.get(RULES)?.value;
    return value?.kind === "rules" ? value.rules : NO_RULES;
  }

  /** A pause or a pin that is damaged still holds: somebody wanted it. */
  pausedBy(): string | undefined {
    return this.holderOf(PAUSE);
  }

  pinnedBy(slice: string): string | undefined {
    return this.holderOf(formatKey({ kind: "control-pin", slice }));
  }

  /** In compares: 0 for what is not there. */
  modRevisions(slice: string): { readonly rules: number; readonly pause: number; readonly pin: number } {
    const pin = formatKey({ kind: "control-pin", slice });
    const of = (key: typeof pin): number => (this.rows.get(key) ?? this.rows.damaged.get(key))?.modRevision ?? 0;
    return { rules: of(RULES), pause: of(PAUSE), pin: of(pin) };
  }

  rulesRow(): Row<ControlValue> | undefined {
    return this.rows.get(RULES);
  }

  pauseRow(): HoldRow | undefined {
    const value = this.rows.get(PAUSE)?.value;
    return value?.kind === "pause" ? value.row : undefined;
  }

  private holderOf(key: typeof PAUSE): string | undefined {
    const value = this.rows.get(key)?.value;
    if (value?.kind === "pause" || value?.kind === "pin") return holderOf(value.row);
    return this.rows.damaged.has(key) ? "a row that cannot be read" : undefined;
  }
}

function parseControl(key: AetherKey, value: unknown): ControlValue | undefined {
  if (key.kind === "control-pause") return { kind: "pause", row: parseHoldRow(value) };
  if (key.kind === "control-pin") return { kind: "pin", slice: key.slice, row: parseHoldRow(value) };
  if (key.kind !== "control-rules") return undefined;
  const row = parseRulesRow(value);
  return { kind: "rules", row, rules: parseRules(row.text) };
}

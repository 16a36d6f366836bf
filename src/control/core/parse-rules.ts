// Owns: reading a rule file: YAML (or JSON, which is YAML), its schema, its expressions. Every error names the line and
// column where it begins, what was expected, and all of them come at once.
import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from "yaml";
import { AetherError } from "../../base/errors.ts";
import { utf8Bytes } from "../../kvstore/core/key.ts";
import type { ValueType } from "./expression.ts";
import { parseExpression } from "./parse-expression.ts";
import {
  RULE_FILE_BYTES_MAX, ruleFileSchema, type Rule, type RuleAction, type RuleFile, type RuleSet,
} from "./rules.ts";

/** One thing that is wrong; lines and columns are counted from 1. */
export interface RuleIssue {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

type Path = readonly (string | number)[];

/** More of them say nothing new. */
const ISSUES_MAX = 20;

/** @throws AetherError E_INVALID with `details.issues`, E_TOO_LARGE */
export function parseRules(text: string): RuleSet {
  const actual = utf8Bytes(text);
  if (actual > RULE_FILE_BYTES_MAX) {
    const message = `a rule file has at most ${RULE_FILE_BYTES_MAX} bytes, this one has ${actual}`;
    throw new AetherError("E_TOO_LARGE", message, { details: { limit: RULE_FILE_BYTES_MAX, actual } });
  }
  return new RuleReading(text).read();
}

/** One reading of one file: collects what is wrong with it. */
class RuleReading {
  private readonly lines = new LineCounter();
  private readonly text: string;
  private readonly document: Document;
  private readonly issues: RuleIssue[] = [];

  constructor(text: string) {
    this.text = text;
    this.document = parseDocument(text, { lineCounter: this.lines, prettyErrors: false, version: "1.2" });
  }

  read(): RuleSet {
    for (const { pos, message } of [...this.document.errors, ...this.document.warnings]) this.note(pos[0], message);
    this.check();
    const file = this.readFile();
    this.check();
    const rules = file.rules.map((rule, index) => this.readRule(rule, index));
    this.checkNames(file);
    this.check();
    return { bounds: file.bounds, rules, advisors: file.advisors };
  }

  private readFile(): RuleFile {
    const parsed = ruleFileSchema.safeParse(this.plain());
    if (parsed.success) return parsed.data;
    for (const issue of parsed.error.issues) {
      const path = issue.path.filter((part) => typeof part !== "symbol");
      const keys = issue.code === "unrecognized_keys" ? issue.keys : [];
      for (const key of keys) this.noteAt([...path, key], `there is no field "${key}" here`, "key");
      if (keys.length === 0) this.noteAt(path, issue.message);
    }
    return { version: 1, bounds: {}, rules: [], advisors: [] };
  }

  private plain(): unknown {
    try {
      // An empty file is no rules. Few aliases, or a small file becomes a large one.
      return this.document.toJS({ maxAliasCount: 20 }) ?? {};
    } catch (error) {
      this.note(0, error instanceof Error ? error.message : "it cannot be read");
      return {};
    }
  }

  private readRule(written: RuleFile["rules"][number], at: number): Rule {
    const { when, window, for: forMs, cooldown, bounds, ...rule } = written;
    const path = ["rules", at];
    const { min, max } = bounds;
    if (min !== undefined && max !== undefined && min > max) this.noteAt([...path, "bounds"], "min is more than max");
    return {
      name: rule.name,
      slice: rule.slice,
      text: when,
      when: this.readExpression(when, { path: [...path, "when"], wanted: "boolean", windowMs: window }),
      forMs,
      action: this.readAction(rule.do, [...path, "do"], window),
      cooldownMs: cooldown,
      min,
      max,
    };
  }

  private readAction(action: RuleFile["rules"][number]["do"], path: Path, windowMs: number): RuleAction {
    if ("add" in action) return { kind: "add", count: action.add };
    if ("remove" in action) return { kind: "remove", count: action.remove };
    if (typeof action.set === "number") return { kind: "set", to: { kind: "number", value: action.set } };
    return { kind: "set", to: this.readExpression(action.set, { path: [...path, "set"], wanted: "number", windowMs }) };
  }

  private readExpression(
    text: string,
    { path, wanted, windowMs }: { readonly path: Path; readonly wanted: ValueType; readonly windowMs: number },
  ): Rule["when"] {
    const read = parseExpression(text, { wanted, windowMs });
    if (read.kind === "parsed") return read.expression;
    const { at, message } = read.error;
    const [start, end] = this.rangeOf(path);
    // Within a scalar that stands as it is, the place is exact; in a folded one it is where that begins.
    const inside = this.text.slice(start, end).indexOf(text);
    if (inside >= 0) this.note(start + inside + at, message);
    else this.note(start, `${message} (character ${at + 1} of the expression)`);
    return { kind: "number", value: 0 };
  }

  private checkNames({ rules }: RuleFile): void {
    const seen = new Set<string>();
    for (const [index, { name }] of rules.entries()) {
      if (seen.has(name)) this.noteAt(["rules", index, "name"], `there is a rule "${name}" already`);
      seen.add(name);
    }
  }

  private check(): void {
    if (this.issues.length === 0) return;
    const issues = this.issues.slice(0, ISSUES_MAX);
    const listed = issues.map(({ line, column, message }) => `line ${line}, column ${column}: ${message}`);
    const message = `these are not rules: ${listed.join("; ")}`;
    throw new AetherError("E_INVALID", message, { details: { issues } });
  }

  private noteAt(path: Path, message: string, of: "key" | "value" = "value"): void {
    this.note(this.rangeOf(path, of)[0], message);
  }

  private note(offset: number, message: string): void {
    const { line, col } = this.lines.linePos(offset);
    this.issues.push({ line: Math.max(1, line), column: Math.max(1, col), message });
  }

  /** Where the value at `path` stands; for what is not there, where its parent does. */
  private rangeOf(path: Path, of: "key" | "value" = "value"): readonly [start: number, end: number] {
    if (of === "key") {
      const key = this.keyOf(path);
      if (key !== undefined) return key;
    }
    const node: unknown = path.length === 0 ? this.document.contents : this.document.getIn(path, true);
    if (isNode(node) && node.range !== undefined && node.range !== null) return [node.range[0], node.range[1]];
    return path.length === 0 ? [0, 0] : this.rangeOf(path.slice(0, -1));
  }

  private keyOf(path: Path): readonly [start: number, end: number] | undefined {
    const parent = path.length === 1 ? this.document.contents : this.document.getIn(path.slice(0, -1), true);
    if (!isMap(parent)) return undefined;
    const key = parent.items.map((pair) => pair.key).find((one) => isScalar(one) && String(one.value) === path.at(-1));
    return isNode(key) && key.range !== undefined && key.range !== null ? [key.range[0], key.range[1]] : undefined;
  }
}

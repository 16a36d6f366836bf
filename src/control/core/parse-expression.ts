// Owns: reading an expression from text, with its types checked: what is wrong is said with the place where it begins.
// Bounded in length, in nesting and in parts, so that no text makes reading or evaluating it long.
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import {
  AGGREGATES, FACTS, ROUNDINGS, typeOf,
  type Aggregate, type Arithmetic, type Comparison, type Expression, type Subject, type ValueType,
} from "./expression.ts";
import { isMetricName, METRICS, type MetricName } from "./metric-window.ts";

/** Of one expression: longer ones cannot be read by the person who has to explain a decision. */
export const EXPRESSION_CHARS_MAX = 1_000;
/** Of brackets, calls and signs in each other. */
export const EXPRESSION_DEPTH_MAX = 32;
/** Metrics, numbers and operators. */
export const EXPRESSION_PARTS_MAX = 100;
/** As far back as metrics are kept. */
export const WINDOW_MS_MAX = 2 * HOUR_MS;
/** A window shorter than the rate at which metrics come has no point in it most of the time. */
export const WINDOW_MS_MIN = 2 * SECOND_MS;
/** Beyond it a forecast from two hours is a guess. */
export const HORIZON_MS_MAX = HOUR_MS;
/** Two seasons have to fit into what is kept. */
export const SEASON_MS_MAX = HOUR_MS;
export const SEASON_MS_MIN = MINUTE_MS;

export interface ExpressionError {
  /** Of the first character that is wrong, counted from 0. */
  readonly at: number;
  readonly message: string;
}

export type ParsedExpression =
  | { readonly kind: "parsed"; readonly expression: Expression }
  | { readonly kind: "error"; readonly error: ExpressionError };

export interface ExpressionRules {
  readonly wanted: ValueType;
  /** For aggregates that name none. */
  readonly windowMs: number;
}

type TokenKind = "number" | "duration" | "name" | "text" | "sign" | "end";

interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: number;
}

/** A time, a number, a name (a minus between letters belongs to it), a quoted text, a sign. */
const TOKEN = new RegExp([
  "\\s*(?:(\\d+(?:\\.\\d+)?(?:ms|s|min|m|h)(?!\\w))", "(\\d+(?:\\.\\d+)?(?![\\w.]))",
  "([A-Za-z_]\\w*(?:-[A-Za-z]\\w*)*)", '"([^"\\\\]*)"', "(<=|>=|==|!=|[-+*/<>(){},=]))",
].join("|"), "y");
const DURATION = /^([\d.]+)(ms|s|m|min|h)$/;
const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: SECOND_MS, m: MINUTE_MS, min: MINUTE_MS, h: HOUR_MS };
const COMPARISONS: readonly string[] = ["<", "<=", ">", ">=", "==", "!="] satisfies readonly Comparison[];

/** What was read is known only by its place in the text; thrown and caught in this file alone. */
class Misread extends Error {
  readonly at: number;

  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

export function parseExpression(text: string, rules: ExpressionRules): ParsedExpression {
  if (text.length > EXPRESSION_CHARS_MAX) {
    const message = `an expression has at most ${EXPRESSION_CHARS_MAX} characters, this one has ${text.length}`;
    return { kind: "error", error: { at: EXPRESSION_CHARS_MAX, message } };
  }
  try {
    return { kind: "parsed", expression: new Reading(tokensOf(text), rules).read() };
  } catch (thrown) {
    if (thrown instanceof Misread) return { kind: "error", error: { at: thrown.at, message: thrown.message } };
    throw thrown;
  }
}

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (text.slice(at).trim() !== "") {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    if (match === null) {
      const start = at + (/^\s*/.exec(text.slice(at))?.[0].length ?? 0);
      throw misread(start, `expected a number, a name or an operator, found "${text.slice(start, start + 10)}"`);
    }
    at = TOKEN.lastIndex;
    const [whole, duration, number, name, quoted, sign] = match;
    const start = match.index + (whole.length - whole.trimStart().length);
    if (duration !== undefined) tokens.push({ kind: "duration", text: duration, at: start });
    else if (number !== undefined) tokens.push({ kind: "number", text: number, at: start });
    else if (name !== undefined) tokens.push({ kind: "name", text: name, at: start });
    else if (quoted !== undefined) tokens.push({ kind: "text", text: quoted, at: start });
    else tokens.push({ kind: "sign", text: sign ?? "", at: start });
  }
  return [...tokens, { kind: "end", text: "", at: text.length }];
}

/** Reads one expression, token by token: lives for one call of `parseExpression`. */
class Reading {
  private readonly tokens: readonly Token[];
  private readonly rules: ExpressionRules;
  private position = 0;
  private depth = 0;
  private parts = 0;

  constructor(tokens: readonly Token[], rules: ExpressionRules) {
    this.tokens = tokens;
    this.rules = rules;
  }

  read(): Expression {
    const expression = this.readOr();
    const rest = this.peek();
    if (rest.kind !== "end") throw misread(rest.at, `expected an operator or the end, found ${shown(rest)}`);
    this.expectType(expression, this.rules.wanted, this.tokens[0]?.at ?? 0);
    return expression;
  }

  private readOr(): Expression {
    return this.readLogical("or", () => this.readLogical("and", () => this.readNot()));
  }

  private readLogical(kind: "and" | "or", readSide: () => Expression): Expression {
    const at = this.peek().at;
    let left = readSide();
    while (this.takeName(kind)) {
      this.count();
      const rightAt = this.peek().at;
      const right = readSide();
      this.expectType(left, "boolean", at);
      this.expectType(right, "boolean", rightAt);
      left = { kind, left, right };
    }
    return left;
  }

  private readNot(): Expression {
    if (!this.takeName("not")) return this.readComparison();
    return this.nested(() => {
      const at = this.peek().at;
      const of = this.readNot();
      this.expectType(of, "boolean", at);
      return { kind: "not", of };
    });
  }

  private readComparison(): Expression {
    const at = this.peek().at;
    const left = this.readArithmetic(["+", "-"], () => this.readArithmetic(["*", "/"], () => this.readSigned()));
    const op = this.takeSign(COMPARISONS);
    if (op === undefined) return left;
    this.count();
    const rightAt = this.peek().at;
    const right = this.readArithmetic(["+", "-"], () => this.readArithmetic(["*", "/"], () => this.readSigned()));
    this.expectType(left, "number", at);
    this.expectType(right, "number", rightAt);
    const more = this.peek();
    if (COMPARISONS.includes(more.text)) {
      throw misread(more.at, 'compare two values at a time and join them with "and"');
    }
    return { kind: "comparison", op: op as Comparison, left, right };
  }

  private readArithmetic(ops: readonly Arithmetic[], readSide: () => Expression): Expression {
    const at = this.peek().at;
    let left = readSide();
    for (let op = this.takeSign(ops); op !== undefined; op = this.takeSign(ops)) {
      this.count();
      const rightAt = this.peek().at;
      const right = readSide();
      this.expectType(left, "number", at);
      this.expectType(right, "number", rightAt);
      left = { kind: "arithmetic", op: op as Arithmetic, left, right };
    }
    return left;
  }

  private readSigned(): Expression {
    if (this.takeSign(["-"]) === undefined) return this.readPrimary();
    return this.nested(() => {
      const at = this.peek().at;
      const of = this.readSigned();
      this.expectType(of, "number", at);
      return { kind: "negative", of };
    });
  }

  private readPrimary(): Expression {
    const token = this.next();
    this.count();
    if (token.kind === "number") return { kind: "number", value: Number(token.text) };
    if (token.kind === "sign" && token.text === "(") {
      return this.nested(() => {
        const inner = this.readOr();
        this.expectSign(")");
        return inner;
      });
    }
    if (token.kind === "name") return this.nested(() => this.readNamed(token));
    if (token.kind === "duration") {
      throw misread(token.at, `${token.text} is a time, which stands only as the second part of a function`);
    }
    throw misread(token.at, `expected a number, a metric, a function or "(", found ${shown(token)}`);
  }

  private readNamed(name: Token): Expression {
    const { text } = name;
    if (includes(FACTS, text)) return { kind: "fact", fact: text, slice: this.readSubject(text !== "nodes") };
    if (includes(ROUNDINGS, text)) {
      this.expectSign("(");
      const at = this.peek().at;
      const of = this.readOr();
      this.expectType(of, "number", at);
      this.expectSign(")");
      return { kind: "rounding", rounding: text, of };
    }
    if (includes(AGGREGATES, text)) return this.readAggregate(text);
    if (text === "forecast") return this.readForecast();
    if (isMetricName(text)) {
      return { kind: "aggregate", aggregate: "last", windowMs: this.rules.windowMs, ...this.metricOf(text) };
    }
    const metrics = Object.keys(METRICS).join(", ");
    throw misread(name.at, `there is no metric or function "${text}"; the metrics are ${metrics}`);
  }

  private readAggregate(aggregate: Aggregate): Expression {
    this.expectSign("(");
    const metric = this.readMetric();
    const windowMs = this.takeSign([","]) === undefined
      ? this.rules.windowMs
      : this.readDuration("the window", WINDOW_MS_MIN, WINDOW_MS_MAX);
    this.expectSign(")");
    return { kind: "aggregate", aggregate, windowMs, ...metric };
  }

  private readForecast(): Expression {
    this.expectSign("(");
    const metric = this.readMetric();
    this.expectSign(",");
    const horizonMs = this.readDuration("how far ahead", SECOND_MS, HORIZON_MS_MAX);
    const seasonMs = this.takeSign([","]) === undefined
      ? undefined
      : this.readDuration("the season", SEASON_MS_MIN, SEASON_MS_MAX);
    this.expectSign(")");
    return { kind: "forecast", horizonMs, seasonMs, ...metric };
  }

  private readMetric(): { readonly metric: MetricName; readonly slice: Subject } {
    const token = this.next();
    this.count();
    if (token.kind === "name" && isMetricName(token.text)) return this.metricOf(token.text);
    const metrics = Object.keys(METRICS).join(", ");
    throw misread(token.at, `expected a metric, found ${shown(token)}; the metrics are ${metrics}`);
  }

  private metricOf(metric: MetricName): { readonly metric: MetricName; readonly slice: Subject } {
    return { metric, slice: this.readSubject(METRICS[metric].scope === "slice") };
  }

  /** `(orders)`, `("orders")` or `{slice="orders"}`; nothing: the slice of the rule. */
  private readSubject(isOfSlice: boolean): Subject {
    const open = this.peek();
    const sign = this.takeSign(["(", "{"]);
    if (sign === undefined) return undefined;
    if (!isOfSlice) throw misread(open.at, "this is of the whole cluster: leave the slice away");
    if (sign === "{") {
      const label = this.next();
      if (label.text !== "slice") throw misread(label.at, `expected the label slice, found ${shown(label)}`);
      this.expectSign("=");
    }
    const slice = this.next();
    if (slice.kind !== "name" && slice.kind !== "text") {
      throw misread(slice.at, `expected the name of a slice, found ${shown(slice)}`);
    }
    this.expectSign(sign === "{" ? "}" : ")");
    return slice.text;
  }

  private readDuration(what: string, leastMs: number, mostMs: number): number {
    const token = this.next();
    const [, amount, unit] = DURATION.exec(token.text) ?? [];
    if (token.kind !== "duration" || amount === undefined || unit === undefined) {
      throw misread(token.at, `expected ${what} as a time such as 30s, found ${shown(token)}`);
    }
    const ms = Number(amount) * (DURATION_MS[unit] ?? Number.NaN);
    if (ms >= leastMs && ms <= mostMs) return ms;
    throw misread(token.at, `${what} is ${leastMs / SECOND_MS}s to ${mostMs / MINUTE_MS}min, not ${token.text}`);
  }

  private expectType(expression: Expression, wanted: ValueType, at: number): void {
    const found = typeOf(expression);
    if (found === wanted) return;
    const hint = wanted === "boolean" ? "a comparison, such as a > 5" : "a number";
    throw misread(at, `expected ${hint}, found ${found === "boolean" ? "a comparison" : "a number"}`);
  }

  private expectSign(sign: string): void {
    const token = this.next();
    if (token.kind === "sign" && token.text === sign) return;
    throw misread(token.at, `expected "${sign}", found ${shown(token)}`);
  }

  private takeSign(signs: readonly string[]): string | undefined {
    const token = this.peek();
    if (token.kind !== "sign" || !signs.includes(token.text)) return undefined;
    this.position++;
    return token.text;
  }

  private takeName(name: string): boolean {
    const token = this.peek();
    if (token.kind !== "name" || token.text !== name) return false;
    this.position++;
    return true;
  }

  private nested<T>(read: () => T): T {
    if (++this.depth > EXPRESSION_DEPTH_MAX) {
      throw misread(this.peek().at, `nested more than ${EXPRESSION_DEPTH_MAX} deep`);
    }
    const result = read();
    this.depth--;
    return result;
  }

  private count(): void {
    if (++this.parts <= EXPRESSION_PARTS_MAX) return;
    const found = `more than ${EXPRESSION_PARTS_MAX} metrics, numbers and operators`;
    throw misread(this.peek().at, `${found}: make it two rules`);
  }

  private peek(): Token {
    return this.tokens[this.position] ?? END;
  }

  private next(): Token {
    const token = this.peek();
    this.position++;
    return token;
  }
}

const END: Token = { kind: "end", text: "", at: 0 };

function includes<T extends string>(list: readonly T[], text: string): text is T {
  return (list as readonly string[]).includes(text);
}

function shown(token: Token): string {
  return token.kind === "end" ? "the end" : `"${token.text}"`;
}

function misread(at: number, message: string): Misread {
  return new Misread(at, message);
}

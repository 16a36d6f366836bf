// Owns: docs/LIMITS.md says what the code does: each row's number is the value of the constant that it links.
// Does not own: whether a limit is kept (tests of the areas).
import { posix } from "node:path";
import ts from "typescript";
import type { Finding, TextFile } from "../project.ts";
import { parseSyntax, walk } from "../syntax.ts";

export const LIMITS_PAGE = "docs/LIMITS.md";
const CONFIG_PAGE = "reference/config.md";
/** `| what | 512 B | what happens | [NAME](../src/file.ts) |`; a cell may hold several numbers, one per link. */
const ROW = /^\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$/;
const LINK = /\[`?([\w.]+)`?\]\(([^)#]+)[^)]*\)/g;
const AMOUNT = /(\d[\d,.]*)(?: (B|KiB|MiB|GiB|ms|s|min|h)\b)?/g;

const UNITS: Readonly<Record<string, number>> = {
  B: 1, KiB: 1_024, MiB: 1_048_576, GiB: 1_073_741_824, ms: 1, s: 1_000, min: 60_000, h: 3_600_000,
};
/** What constants are made of, see src/base/units.ts. */
const NAMED_UNITS: Readonly<Record<string, number>> = {
  KiB: 1_024, MiB: 1_048_576, GiB: 1_073_741_824, SECOND_MS: 1_000, MINUTE_MS: 60_000, HOUR_MS: 3_600_000,
};

interface LimitSource {
  readonly name: string;
  /** From the project's root, or the page of the configuration. */
  readonly path: string;
}

/** `defaults` are those of the configuration, by their path: `runtime.callsQueuedMax`. */
export function findWrongLimits(
  files: readonly TextFile[],
  defaults: ReadonlyMap<string, unknown>,
): readonly Finding[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const lines = byPath.get(LIMITS_PAGE)?.text.split("\n") ?? [];
  return lines.flatMap((line, index) => {
    const [, , amounts, , sources] = ROW.exec(line) ?? [];
    if (amounts === undefined || sources === undefined || isHead(amounts)) return [];
    const message = objectionTo(amountsIn(amounts), sourcesIn(sources), { byPath, defaults });
    return message === undefined ? [] : [{ path: LIMITS_PAGE, line: index + 1, message }];
  });
}

/** The first two lines of each table. */
function isHead(amounts: string): boolean {
  return amounts.trim() === "limit" || /^-+$/.test(amounts);
}

function amountsIn(cell: string): readonly number[] {
  return [...cell.matchAll(AMOUNT)].map(([, digits = "", unit]) => {
    return Number(digits.replaceAll(",", "")) * (unit === undefined ? 1 : (UNITS[unit] ?? Number.NaN));
  });
}

function sourcesIn(cell: string): readonly LimitSource[] {
  return [...cell.matchAll(LINK)].map(([, name = "", target = ""]) => {
    return { name, path: target === CONFIG_PAGE ? target : posix.join("docs", target) };
  });
}

function objectionTo(
  amounts: readonly number[],
  sources: readonly LimitSource[],
  known: { readonly byPath: ReadonlyMap<string, TextFile>; readonly defaults: ReadonlyMap<string, unknown> },
): string | undefined {
  if (sources.length === 0) return "names no constant: link one, or a field of the configuration";
  if (amounts.length !== sources.length) return `has ${amounts.length} numbers for ${sources.length} constants`;
  for (const [at, source] of sources.entries()) {
    const file = known.byPath.get(source.path);
    const value = source.path === CONFIG_PAGE ? known.defaults.get(source.name) : file && constantIn(file, source.name);
    if (typeof value !== "number") return `links ${source.name}, which is not found`;
    if (value !== amounts[at]) return `says ${amounts[at]}, but ${source.name} is ${value}`;
  }
  return undefined;
}

/** The number behind `NAME`, or behind `NAME.part.part` of an object. */
function constantIn(file: TextFile, name: string): number | undefined {
  const [root, ...path] = name.split(".");
  let found: ts.Expression | undefined;
  walk(parseSyntax(file), (node) => {
    if (ts.isVariableDeclaration(node) && node.name.getText() === root) found ??= node.initializer;
  });
  for (const part of path) found = found && propertyOf(bare(found), part);
  return found === undefined ? undefined : numberOf(bare(found));
}

function propertyOf(expression: ts.Expression, name: string): ts.Expression | undefined {
  if (!ts.isObjectLiteralExpression(expression)) return undefined;
  const property = expression.properties.find((candidate) => candidate.name?.getText() === name);
  return property !== undefined && ts.isPropertyAssignment(property) ? property.initializer : undefined;
}

/** Without `as const` and `satisfies`. */
function bare(node: ts.Expression): ts.Expression {
  return ts.isAsExpression(node) || ts.isSatisfiesExpression(node) ? bare(node.expression) : node;
}

function numberOf(expression: ts.Expression): number | undefined {
  if (ts.isNumericLiteral(expression)) return Number(expression.text);
  if (ts.isIdentifier(expression)) return NAMED_UNITS[expression.text];
  if (!ts.isBinaryExpression(expression)) return undefined;
  const left = numberOf(expression.left);
  const right = numberOf(expression.right);
  if (left === undefined || right === undefined) return undefined;
  return expression.operatorToken.kind === ts.SyntaxKind.AsteriskToken ? left * right : undefined;
}

// Owns: what may not be left behind: notes without an owner, silent catches, tests switched off, foreign text.
import ts from "typescript";
import { type Finding, isSource, isTest, lineAt, type TextFile } from "../project.ts";
import { isTestFunction, lineOf, parseSyntax, walk } from "../syntax.ts";

/** These rules' own files and samples hold the words that the rules look for. */
function isJudged(file: TextFile): boolean {
  return !file.path.startsWith("test/tidy/");
}

interface WordRule {
  readonly pattern: RegExp;
  readonly message: string;
}

const WORD_RULES: readonly WordRule[] = [
  { pattern: /\bTODO\b(?!\(#\d+\))/g, message: "TODO without an issue number: write TODO(#123)" },
  { pattern: /\bFIXME\b/g, message: "FIXME: mend it before it lands" },
  { pattern: /\b(XXX|HACK)\b/g, message: "say what is wrong and why it stays, or mend it" },
  { pattern: /@ts-(ignore|nocheck)\b/g, message: "use @ts-expect-error with a reason: it reports when it is no longer needed" },
  { pattern: /\bas an AI\b/gi, message: "text speaks of the project, not of who wrote it" },
  { pattern: /(?<![\w./-])\/(work|root|home)\/[a-z]|\/tmp\/brief/g, message: "a path of one machine: write it relative to the project" },
];

/** Hosts that resolve only inside somebody's network. Loopback and documentation names are fine. */
const PRIVATE_HOST =
  /https?:\/\/([\w-]+\.)*([\w-]+\.(internal|corp|intranet|lan)|10(\.\d+){3}|192\.168(\.\d+){2}|172\.(1[6-9]|2\d|3[01])(\.\d+){2})\b/gi;
const PUBLIC_REGISTRY = "https://registry.npmjs.org/";

export function findForbiddenWords(files: readonly TextFile[]): readonly Finding[] {
  return files.filter((file) => isJudged(file) && file.path !== "package-lock.json").flatMap((file) =>
    WORD_RULES.flatMap((rule) => matchesOf(file, rule.pattern, () => rule.message)),
  );
}

export function findPrivateHosts(files: readonly TextFile[]): readonly Finding[] {
  return files.filter(isJudged).flatMap((file) => [
    ...matchesOf(file, PRIVATE_HOST, (match) => `${match[0]} is reachable only from one network`),
    ...(file.path === "package-lock.json" ? foreignPackages(file) : []),
  ]);
}

function foreignPackages(lockFile: TextFile): readonly Finding[] {
  return matchesOf(lockFile, /"resolved": "(https?:\/\/[^"]+)"/g, (match) =>
    match[1]?.startsWith(PUBLIC_REGISTRY) === true ? undefined : `${match[1]} is not from ${PUBLIC_REGISTRY}`,
  );
}

function matchesOf(
  file: TextFile,
  pattern: RegExp,
  objection: (match: RegExpMatchArray) => string | undefined,
): readonly Finding[] {
  return [...file.text.matchAll(pattern)].flatMap((match) => {
    const message = objection(match);
    return message === undefined ? [] : [{ path: file.path, line: lineAt(file.text, match.index), message }];
  });
}

/** `catch {}` and `.catch(() => {})` swallow; a comment beginning with "ignored:" says why that is right. */
export function findSilentCatches(files: readonly TextFile[]): readonly Finding[] {
  const suspects = files.filter((file) => (isSource(file) || isTest(file)) && file.text.includes("catch"));
  return suspects.flatMap((file) => {
    const source = parseSyntax(file);
    const findings: Finding[] = [];
    walk(source, (node) => {
      if (!isSilentCatch(node) || hasIgnoredComment(source, node)) return;
      findings.push({
        path: file.path,
        line: lineOf(source, node),
        message: 'swallows an error: recover, translate, rethrow, or say why not in a comment "// ignored: …"',
      });
    });
    return findings;
  });
}

function isSilentCatch(node: ts.Node): boolean {
  if (ts.isCatchClause(node)) return node.block.statements.length === 0;
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return false;
  const [handler] = node.arguments;
  return node.expression.name.text === "catch" && handler !== undefined && isEmptyFunction(handler);
}

function isEmptyFunction(node: ts.Expression): boolean {
  if (!ts.isArrowFunction(node) && !ts.isFunctionExpression(node)) return false;
  if (ts.isBlock(node.body)) return node.body.statements.length === 0;
  return node.body.getText() === "undefined" || ts.isVoidExpression(node.body);
}

/** Inside the catch, or on its first line, or on the line above. */
function hasIgnoredComment(source: ts.SourceFile, node: ts.Node): boolean {
  const lines = source.text.split("\n");
  const first = source.getLineAndCharacterOfPosition(ownStart(source, node)).line;
  const last = source.getLineAndCharacterOfPosition(node.getEnd()).line;
  return lines.slice(Math.max(0, first - 1), last + 1).some((line) => /(\/\/|\/\*) ignored: \S/.test(line));
}

/** A chained call starts where its chain starts, maybe many lines above; what counts is where `.catch` stands. */
function ownStart(source: ts.SourceFile, node: ts.Node): number {
  if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
    return node.expression.name.getStart(source);
  }
  return node.getStart(source);
}

const SWITCHES = ["fails", "only", "skip", "todo"];

export function findTestsSwitchedOff(files: readonly TextFile[]): readonly Finding[] {
  const suspects = files.filter((file) => isTest(file) && SWITCHES.some((name) => file.text.includes(`.${name}`)));
  return suspects.flatMap((file) => {
    const source = parseSyntax(file);
    const findings: Finding[] = [];
    walk(source, (node) => {
      if (!ts.isPropertyAccessExpression(node) || !SWITCHES.includes(node.name.text)) return;
      if (!isTestFunction(node.expression)) return;
      const message = `${node.getText(source)}: a test runs or goes`;
      findings.push({ path: file.path, line: lineOf(source, node), message });
    });
    return findings;
  });
}

// Owns: "core is pure": what may not appear in a file under a folder named core.
import { posix } from "node:path";
import ts from "typescript";
import { type Finding, isSource, type TextFile } from "../project.ts";
import { type Import, importsOf, lineOf, parseSyntax, walk } from "../syntax.ts";

/** Pure libraries: no clock, chance, disk or network inside. */
const PURE_PACKAGES = ["zod", "semver", "yaml"];

const IMPURE_GLOBALS = new Set([
  ...["AbortController", "AbortSignal", "Date", "Intl", "Promise", "console", "crypto", "fetch", "globalThis"],
  ...["performance", "process", "queueMicrotask", "require", "setImmediate", "setInterval", "setTimeout"],
]);

/** Their answers depend on the machine's locale, or on chance. */
const IMPURE_MEMBERS = new Set(["localeCompare", "toLocaleLowerCase", "toLocaleString", "toLocaleUpperCase"]);

export function findImpureCore(files: readonly TextFile[]): readonly Finding[] {
  return files.filter((file) => isSource(file) && file.path.includes("/core/")).flatMap(findingsIn);
}

function findingsIn(file: TextFile): readonly Finding[] {
  const source = parseSyntax(file);
  const findings: Finding[] = [];
  for (const found of importsOf(source)) {
    const message = objectionToImport(file.path, found);
    if (message !== undefined) findings.push({ path: file.path, line: found.line, message });
  }
  walk(source, (node) => {
    const message = objectionToNode(node);
    if (message !== undefined) findings.push({ path: file.path, line: lineOf(source, node), message });
  });
  return findings;
}

function objectionToImport(path: string, found: Import): string | undefined {
  if (!found.specifier.startsWith(".")) {
    if (PURE_PACKAGES.includes(found.specifier)) return undefined;
    return `imports ${found.specifier}: core is pure and uses only ${PURE_PACKAGES.join(", ")} beside our own code`;
  }
  const target = posix.join(posix.dirname(path), found.specifier);
  if (/^src\/(base|sdk)\//.test(target) || target.includes("/core/")) return undefined;
  // A type has no behaviour, so the shape of a port may be named; a port to the world would invite using it.
  if (found.kind === "type" && !target.startsWith("src/env/")) return undefined;
  return `imports ${target}: core sees only base, sdk, other core files and the types of ports`;
}

function objectionToNode(node: ts.Node): string | undefined {
  if (ts.isIdentifier(node) && IMPURE_GLOBALS.has(node.text) && isValueUse(node)) {
    return `uses ${node.text}: core is synchronous and knows no clock, chance or process; take it as an argument`;
  }
  if (ts.isPropertyAccessExpression(node)) {
    if (node.expression.getText() === "Math" && node.name.text === "random") {
      return "uses Math.random: take a Random as an argument";
    }
    if (IMPURE_MEMBERS.has(node.name.text)) return `uses ${node.name.text}: the answer depends on the machine's locale`;
  }
  if (node.kind === ts.SyntaxKind.AsyncKeyword) return "is async: core is synchronous, drivers await";
  if (ts.isAwaitExpression(node)) return "awaits: core is synchronous, drivers await";
  return undefined;
}

/** Not the name of a property, a declaration of that name, or part of a type. */
function isValueUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isTypeNode(parent) || ts.isQualifiedName(parent)) return false;
  const isNameOfParent = "name" in parent && parent.name === node;
  return !isNameOfParent;
}

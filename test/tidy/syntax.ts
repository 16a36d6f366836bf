// Owns: the few questions the tidy rules ask a TypeScript syntax tree. Does not own: types; rules are about text.
import ts from "typescript";
import type { TextFile } from "./project.ts";

export interface Import {
  /** As written. */
  readonly specifier: string;
  readonly kind: "value" | "type" | "dynamic";
  readonly line: number;
}

export function parseSyntax(file: TextFile): ts.SourceFile {
  return ts.createSourceFile(file.path, file.text, ts.ScriptTarget.ES2022, true);
}

export function lineOf(source: ts.SourceFile, node: ts.Node): number {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

/** Imports, re-exports, `import("…")` as an expression and as a type. */
export function importsOf(source: ts.SourceFile): readonly Import[] {
  const imports: Import[] = [];
  walk(source, (node) => {
    const found = importAt(node);
    if (found !== undefined) imports.push({ ...found, line: lineOf(source, node) });
  });
  return imports;
}

function importAt(node: ts.Node): Omit<Import, "line"> | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return { specifier: node.moduleSpecifier.text, kind: isTypeOnly(node) ? "type" : "value" };
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined && ts.isStringLiteral(node.moduleSpecifier)) {
    return { specifier: node.moduleSpecifier.text, kind: node.isTypeOnly ? "type" : "value" };
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
    return { specifier: node.argument.literal.text, kind: "type" };
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    const [argument] = node.arguments;
    if (argument === undefined || !ts.isStringLiteralLike(argument)) return undefined;
    return { specifier: argument.text, kind: "dynamic" };
  }
  return undefined;
}

function isTypeOnly(node: ts.ImportDeclaration): boolean {
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.isTypeOnly) return true;
  const bindings = clause.namedBindings;
  return (
    clause.name === undefined &&
    bindings !== undefined &&
    ts.isNamedImports(bindings) &&
    bindings.elements.length > 0 &&
    bindings.elements.every((element) => element.isTypeOnly)
  );
}

/** The titles given to test(), it() and describe(), templates included. */
export function testTitles(source: ts.SourceFile): readonly string[] {
  const titles: string[] = [];
  walk(source, (node) => {
    if (!ts.isCallExpression(node) || !isTestFunction(node.expression)) return;
    const [title] = node.arguments;
    if (title !== undefined && (ts.isStringLiteralLike(title) || ts.isTemplateExpression(title))) {
      titles.push(title.getText(source));
    }
  });
  return titles;
}

/** `test`, `test.skip`, `test.each(table)`, `describe.only` and so on. */
export function isTestFunction(expression: ts.Expression): boolean {
  if (ts.isIdentifier(expression)) return /^(test|it|describe|suite)$/.test(expression.text);
  if (ts.isPropertyAccessExpression(expression) || ts.isCallExpression(expression)) {
    return isTestFunction(expression.expression);
  }
  return false;
}

/** Strings of the program: what a reader of a failure may see, unlike comments. */
export function stringsOf(source: ts.SourceFile): readonly string[] {
  const strings: string[] = [];
  walk(source, (node) => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)) strings.push(node.getText(source).slice(1, -1));
  });
  return strings;
}

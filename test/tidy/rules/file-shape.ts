// Owns: what a source file is called, how it begins and that it holds something of its own.
import ts from "typescript";
import { type Finding, isSource, isTest, type TextFile } from "../project.ts";
import { parseSyntax } from "../syntax.ts";

const VAGUE_WORDS = new Set(["common", "helper", "helpers", "misc", "util", "utils"]);
const HEADER = /^(#!.*\n)?\/\/ (Owns: |Ports only)/;

export function findMissingHeaders(files: readonly TextFile[]): readonly Finding[] {
  return files
    .filter((file) => isSource(file) && !HEADER.test(file.text))
    .map((file) => ({ path: file.path, line: 1, message: 'does not begin with "// Owns: …" or "// Ports only…"' }));
}

export function findVagueNames(files: readonly TextFile[]): readonly Finding[] {
  return files.filter((file) => isSource(file) || isTest(file)).flatMap((file) => {
    const vague = nounsOf(file.path).find((noun) => VAGUE_WORDS.has(noun));
    if (vague === undefined) return [];
    const message = `"${vague}" names nothing: if it has no name, it is not one thing yet`;
    return [{ path: file.path, line: 1, message }];
  });
}

/** The last word of each folder's and of the file's name: `string-helpers` are helpers, `common-path` is a path. */
function nounsOf(path: string): readonly string[] {
  return path.split(/[/.]/).map((name) => name.slice(name.lastIndexOf("-") + 1));
}

/** Index files are package entries; a file of nothing but re-exports, or `export *`, is a barrel. */
export function findBarrels(files: readonly TextFile[]): readonly Finding[] {
  const entries = packageEntries(files);
  return files
    .filter((file) => isSource(file) && !entries.has(file.path))
    .flatMap((file) => {
      const message = objectionToBarrel(file);
      return message === undefined ? [] : [{ path: file.path, line: 1, message }];
    });
}

function objectionToBarrel(file: TextFile): string | undefined {
  if (/(^|\/)index\.ts$/.test(file.path)) return 'is an index file that is no entry in the "exports" of package.json';
  if (!/^export\b[^;]*\bfrom "/m.test(file.text)) return undefined; // Parsing every file is what takes time.
  const { statements } = parseSyntax(file);
  const reExports = statements.filter((statement) => ts.isExportDeclaration(statement) && statement.moduleSpecifier);
  if (reExports.some((statement) => ts.isExportDeclaration(statement) && statement.exportClause === undefined)) {
    return "exports * from elsewhere: import things from the file that owns them";
  }
  const isOnlyReExports = reExports.length > 0 && reExports.length === statements.length;
  return isOnlyReExports ? "only re-exports: import things from the files that own them" : undefined;
}

/** `./dist/sdk/index.d.ts` in package.json is `src/sdk/index.ts` here. */
function packageEntries(files: readonly TextFile[]): ReadonlySet<string> {
  const manifest = files.find((file) => file.path === "package.json")?.text ?? "{}";
  const paths = manifest.matchAll(/"\.\/dist\/([^"]+)\.d\.ts"/g);
  return new Set([...paths].map(([, path]) => `src/${path}.ts`));
}

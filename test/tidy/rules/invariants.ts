// Owns: every invariant label an area's README promises is checked by code and proven by a named test.
import { type Finding, isSource, isTest, lineAt, type TextFile } from "../project.ts";
import { parseSyntax, stringsOf, testTitles } from "../syntax.ts";

const AREA_README = /^src\/[^/]+\/README\.md$/;
const LABEL = /\b[CJ]\d{1,2}\b/g;

export function findUnprovenInvariants(files: readonly TextFile[]): readonly Finding[] {
  const checked = labelsIn(files.filter((file) => isSource(file) || /^test\/sim\//.test(file.path)), stringsOf);
  const tested = labelsIn(files.filter((file) => isTest(file) && file.path.endsWith(".test.ts")), testTitles);
  return files.filter((file) => AREA_README.test(file.path)).flatMap((readme) =>
    promisedLabels(readme).flatMap(({ label, line }) => {
      const missing = [
        ...(checked.has(label) ? [] : ["no assert or checker names it"]),
        ...(tested.has(label) ? [] : ["no test name contains it"]),
      ];
      if (missing.length === 0) return [];
      return [{ path: readme.path, line, message: `invariant ${label}: ${missing.join(", ")}` }];
    }),
  );
}

function promisedLabels(readme: TextFile): readonly { readonly label: string; readonly line: number }[] {
  const firstLine = new Map<string, number>();
  for (const match of readme.text.matchAll(LABEL)) {
    if (!firstLine.has(match[0])) firstLine.set(match[0], lineAt(readme.text, match.index));
  }
  return [...firstLine].map(([label, line]) => ({ label, line }));
}

function labelsIn(
  files: readonly TextFile[],
  textsOf: (source: ReturnType<typeof parseSyntax>) => readonly string[],
): ReadonlySet<string> {
  const suspects = files.filter((file) => file.path.endsWith(".ts") && file.text.search(LABEL) !== -1);
  const texts = suspects.flatMap((file) => textsOf(parseSyntax(file)));
  return new Set(texts.flatMap((text) => text.match(LABEL) ?? []));
}

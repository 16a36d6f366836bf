// Owns: what documents promise exists: files, headings, lines, scripts, commands and error codes.
import { posix } from "node:path";
import { ERRORS } from "../../../src/base/error-catalog.ts";
import { anchorsOf, linksOf, type Located, readPage } from "../markdown.ts";
import { type Finding, isDocument, type TextFile } from "../project.ts";

const FILE_NAME = /^(src|test|docs|\.ci)\/[\w./-]+\.\w+$/;
const NPM_SCRIPT = /\bnpm (?:run(?:-script)? ([\w:-]+)|(test|start)\b)/g;
/** `npx aether …`, and `aether …` where it begins a command; up to the end of that command. */
const AETHER_COMMAND = /(?:^|[;&|(]\s*|\bnpx )aether(?= |$)((?:(?! [|#>]|[;&)]).)*)/g;
/** What a node prints when it can serve begins like a command. */
const READY_LINE = /^ node \S+ ready\b/;

/** The command line's own list, `kv get` for example, each with the options it takes. */
export type KnownCommands = ReadonlyMap<string, ReadonlySet<string>>;

export function findBrokenLinks(files: readonly TextFile[]): readonly Finding[] {
  const known = new Map(files.map((file) => [file.path, file.text]));
  return files.filter(isDocument).flatMap((file) => {
    const page = readPage(file.text);
    const links = linksOf(page).filter((link) => !/^[a-z][a-z+.-]*:/i.test(link.text));
    const names = page.inlineCode.filter((code) => FILE_NAME.test(code.text));
    return [
      ...links.flatMap((link) => finding(file, link, objectionToLink(file, link.text, known))),
      ...names.flatMap((name) => finding(file, name, known.has(name.text) ? undefined : `${name.text} does not exist`)),
    ];
  });
}

function objectionToLink(file: TextFile, link: string, known: ReadonlyMap<string, string>): string | undefined {
  const [path = "", anchor] = link.split("#", 2);
  const target = path === "" ? file.path : posix.join(posix.dirname(file.path), decodeURI(path));
  const text = known.get(target);
  if (text === undefined) {
    const isDirectory = [...known.keys()].some((name) => name.startsWith(`${target.replace(/\/$/, "")}/`));
    return isDirectory ? undefined : `link to ${target}, which does not exist`;
  }
  if (anchor === undefined) return undefined;
  const lines = /^L(\d+)(?:-L(\d+))?$/.exec(anchor);
  if (lines !== null) {
    const last = Number(lines[2] ?? lines[1]);
    return last <= text.split("\n").length ? undefined : `link to line ${last} of ${target}, which is shorter`;
  }
  if (!target.endsWith(".md")) return `link to #${anchor} of ${target}: use a line such as #L12`;
  return anchorsOf(text).has(anchor) ? undefined : `link to #${anchor}, a heading that ${target} does not have`;
}

export function findUnknownScripts(files: readonly TextFile[]): readonly Finding[] {
  const scripts = scriptsOf(files);
  return files.filter(isDocument).flatMap((file) =>
    commandsOf(file).flatMap((code) =>
      [...code.text.matchAll(NPM_SCRIPT)].flatMap((match) => {
        const script = match[1] ?? match[2] ?? "";
        return finding(file, code, scripts.has(script) ? undefined : `package.json has no script "${script}"`);
      }),
    ),
  );
}

export function findUnknownCommands(files: readonly TextFile[], commands: KnownCommands): readonly Finding[] {
  return files.filter(isDocument).flatMap((file) =>
    commandsOf(file).flatMap((code) =>
      [...code.text.matchAll(AETHER_COMMAND)]
        .map(([, rest = ""]) => rest)
        .filter((rest) => !READY_LINE.test(rest))
        .flatMap((rest) => finding(file, code, objectionToCommand(rest.trim().split(/\s+/), commands))),
    ),
  );
}

function objectionToCommand(words: readonly string[], commands: KnownCommands): string | undefined {
  const [verb = "", action = ""] = words.filter((word) => !word.startsWith("-"));
  if (!/^[a-z][a-z-]*$/.test(verb)) return objectionToOptions("", words, commands); // Nothing, or a placeholder.
  if (!commands.has(verb)) return `there is no command "aether ${verb}"`;
  const isGroup = [...commands.keys()].some((path) => path.startsWith(`${verb} `));
  if (!isGroup || !/^[a-z][a-z|-]*$/.test(action)) return objectionToOptions(verb, words, commands);
  const paths = action.split("|").map((name) => `${verb} ${name}`);
  const unknown = paths.find((path) => !commands.has(path));
  if (unknown !== undefined) return `there is no command "aether ${unknown}"`;
  return objectionToOptions(paths[0] ?? verb, words, commands);
}

function objectionToOptions(path: string, words: readonly string[], commands: KnownCommands): string | undefined {
  const options = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.replace(/=.*/, ""));
  const unknown = options.find((option) => commands.get(path)?.has(option) !== true);
  return unknown === undefined ? undefined : `"aether ${path}" has no option ${unknown}`;
}

export function findUnknownErrorCodes(files: readonly TextFile[]): readonly Finding[] {
  return files.filter(isDocument).flatMap((file) =>
    file.text.split("\n").flatMap((text, index) =>
      [...text.matchAll(/\bE_[A-Z][A-Z_]*[A-Z]\b/g)].flatMap(([code]) =>
        finding(file, { text, line: index + 1 }, code in ERRORS ? undefined : `${code} is not in the error catalog`),
      ),
    ),
  );
}

function commandsOf(file: TextFile): readonly Located[] {
  const page = readPage(file.text);
  const fenced = page.fencedCode.map((code) => ({ ...code, text: code.text.trim().replace(/^[$>] /, "") }));
  return [...page.inlineCode, ...fenced];
}

function scriptsOf(files: readonly TextFile[]): ReadonlySet<string> {
  const manifest: unknown = JSON.parse(files.find((file) => file.path === "package.json")?.text ?? "{}");
  const scripts = typeof manifest === "object" && manifest !== null && "scripts" in manifest ? manifest.scripts : {};
  return new Set(Object.keys(scripts ?? {}));
}

function finding(file: TextFile, place: Located, message: string | undefined): readonly Finding[] {
  return message === undefined ? [] : [{ path: file.path, line: place.line, message }];
}

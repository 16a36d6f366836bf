// Owns: the shell commands of a page, as words.

export interface ShellLine {
  readonly program: string;
  readonly words: readonly string[];
}

/** The commands of all shell blocks, split into words as a shell does it. */
export function shellLinesOf(page: string): readonly ShellLine[] {
  return [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) => block.trimEnd().split("\n"))
    .map((line) => {
      const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");
      return { program: words[0] ?? "", words: words.slice(1) };
    });
}

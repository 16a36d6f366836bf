// Owns: the parts of a Markdown page that can be checked: links, headings, commands and names of files in code.

export interface Located {
  readonly text: string;
  /** Counted from 1. */
  readonly line: number;
}

interface Page {
  /** Lines outside fences, inline code blanked out; the index is the line number minus 1. */
  readonly prose: readonly string[];
  readonly inlineCode: readonly Located[];
  readonly fencedCode: readonly Located[];
}

const FENCE = /^\s*(```|~~~)/;
const INLINE_CODE = /`([^`]+)`/g;
const LINK = /\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g;

export function readPage(text: string): Page {
  const prose: string[] = [];
  const inlineCode: Located[] = [];
  const fencedCode: Located[] = [];
  let isFenced = false;
  text.split("\n").forEach((line, index) => {
    if (FENCE.test(line)) {
      isFenced = !isFenced;
      prose.push("");
    } else if (isFenced) {
      fencedCode.push({ text: line, line: index + 1 });
      prose.push("");
    } else {
      for (const match of line.matchAll(INLINE_CODE)) inlineCode.push({ text: match[1] ?? "", line: index + 1 });
      prose.push(line.replace(INLINE_CODE, ""));
    }
  });
  return { prose, inlineCode, fencedCode };
}

/** Targets of links, as written. A link whose text is code still counts: only the code is blanked out. */
export function linksOf(page: Page): readonly Located[] {
  return page.prose.flatMap((text, index) =>
    [...text.matchAll(LINK)].map((match) => ({ text: match[1] ?? "", line: index + 1 })),
  );
}

/** Anchors that GitHub makes of the headings, repeated ones numbered. */
export function anchorsOf(text: string): ReadonlySet<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  let isFenced = false;
  for (const line of text.split("\n")) {
    if (FENCE.test(line)) isFenced = !isFenced;
    const heading = isFenced ? undefined : /^#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const anchor = anchorOf(heading);
    const repeats = seen.get(anchor) ?? 0;
    seen.set(anchor, repeats + 1);
    anchors.add(repeats === 0 ? anchor : `${anchor}-${repeats}`);
  }
  return anchors;
}

function anchorOf(heading: string): string {
  return heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");
}

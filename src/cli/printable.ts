// Owns: text from slices as it may go to a terminal: it must not command it.

/** Lines after the first are indented, control characters replaced. */
export function printable(text: string): string {
  return text.replaceAll("\n", "\n    ").replaceAll(/[^\P{Cc}\t\n]/gu, "\uFFFD");
}

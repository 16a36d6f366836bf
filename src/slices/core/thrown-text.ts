// Owns: a thrown value as text, whatever it is. Slices throw anything, also what throws again when it is looked at, and
// what they threw must harm neither their worker nor the node.

export interface ThrownText {
  readonly name: string;
  readonly message: string;
}

/** Longer texts are cut: they travel with replies, in rows and in logs. */
const NAME_LENGTH_MAX = 100;
const TEXT_LENGTH_MAX = 2_000;

export function describeThrown(thrown: unknown): ThrownText {
  const name = textOf(() => (thrown instanceof Error ? thrown.name : typeof thrown));
  const message = textOf(() => (thrown instanceof Error ? thrown.message : thrown));
  return { name: cut(name, NAME_LENGTH_MAX), message: cut(message, TEXT_LENGTH_MAX) };
}

export function stackOf(thrown: unknown): string {
  return cut(textOf(() => (thrown instanceof Error ? thrown.stack : thrown)), TEXT_LENGTH_MAX);
}

/** Half of a character is not what a reader of it would get. */
function cut(text: string, lengthMax: number): string {
  return text.slice(0, lengthMax).toWellFormed();
}

/** Never throws. */
function textOf(read: () => unknown): string {
  try {
    return String(read());
  } catch {
    // ignored: what matters is that something was thrown, and that is said in any case.
    return "something that cannot be shown as text";
  }
}

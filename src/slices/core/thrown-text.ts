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
  return { name: name.slice(0, NAME_LENGTH_MAX), message: message.slice(0, TEXT_LENGTH_MAX) };
}

export function stackOf(thrown: unknown): string {
  return textOf(() => (thrown instanceof Error ? thrown.stack : thrown)).slice(0, TEXT_LENGTH_MAX);
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

// Owns: what a schema found wrong with a value, in the bounded form in which it goes into errors.

export interface SchemaIssue {
  readonly path: readonly string[];
  readonly message: string;
}

/** More say nothing new, and an error must stay small, whatever it is about. */
const ISSUES_MAX = 20;
const MESSAGE_CHARS_MAX = 300;

/** The first issues of a failed parse, as plain data. */
export function plainIssues(
  found: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
): readonly SchemaIssue[] {
  return found.slice(0, ISSUES_MAX).map(({ path, message }) => ({
    path: path.map(String),
    message: message.length > MESSAGE_CHARS_MAX ? `${message.slice(0, MESSAGE_CHARS_MAX)}…` : message,
  }));
}

/** `slices.orders.instances: expected a number`; an issue of the whole value has no place. */
export function describeIssue({ path, message }: SchemaIssue): string {
  return path.length === 0 ? message : `${path.join(".")}: ${message}`;
}

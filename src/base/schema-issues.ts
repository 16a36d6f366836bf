// Owns: what a schema found wrong with a value, in the bounded form in which it goes into errors.

export interface SchemaIssue {
  readonly path: readonly string[];
  readonly message: string;
}

/** More say nothing new, and an error must stay small, whatever it is about. */
const ISSUES_MAX = 20;
const TEXT_CHARS_MAX = 300;

interface FoundIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** Fields that no schema knows, of the value at `path`. */
  readonly keys?: readonly string[];
}

/** The first issues of a failed parse, as plain data. */
export function plainIssues(found: readonly FoundIssue[]): readonly SchemaIssue[] {
  return found.slice(0, ISSUES_MAX).flatMap(placesOf).slice(0, ISSUES_MAX).map(({ path, message }) => ({
    path: path.map((part) => shortened(String(part))),
    message: shortened(message),
  }));
}

/** An unknown field has its own name as its place. */
function placesOf(issue: FoundIssue): readonly FoundIssue[] {
  const { path, keys } = issue;
  if (keys === undefined) return [issue];
  return keys.slice(0, ISSUES_MAX).map((key) => ({ path: [...path, key], message: "there is no such field" }));
}

function shortened(text: string): string {
  return text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}…` : text;
}

/** `slices.orders.instances: expected a number`; an issue of the whole value has no place. */
export function describeIssue({ path, message }: SchemaIssue): string {
  return path.length === 0 ? message : `${path.join(".")}: ${message}`;
}

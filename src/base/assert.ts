// Owns: the checks that stay on in production. A failed one is our bug: the node flushes and stops.

/** A broken invariant. Never caught to continue: the process that sees one must stop. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** States one fact that must hold here. @throws AssertionError naming the fact. */
export function assert(condition: boolean, fact: string): asserts condition {
  if (!condition) throw new AssertionError(fact);
}

/** Ends every `switch` over a union: adding a variant without handling it fails to compile. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable variant: ${JSON.stringify(value)}`);
}

/** The value, which the caller knows to be present; `fact` says why it is. */
export function present<T>(value: T | undefined, fact: string): T {
  if (value === undefined) throw new AssertionError(fact);
  return value;
}

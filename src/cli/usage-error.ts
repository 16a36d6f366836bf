// Owns: a command line that cannot be understood. Its exit code is 2.

export class UsageError extends Error {
  override readonly name = "UsageError";
}

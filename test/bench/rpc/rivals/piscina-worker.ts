// Owns: the task, which does nothing.
export async function echo(input: unknown): Promise<unknown> {
  return input;
}

// Owns: the parser of flags that take a number of seconds.
import { InvalidArgumentError } from "commander";

export function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("use a number of seconds, for example 60");
  return value;
}

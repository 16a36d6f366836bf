// Owns: the parser of arguments that are a number of instances.
import { InvalidArgumentError } from "commander";

export function parseInstances(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("use a number of instances");
}

// Owns: the parser of flags that take NAME=VALUE and may be repeated.
import { InvalidArgumentError } from "commander";

export function addAttribute(
  text: string, before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("use NAME=VALUE, for example region=eu");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

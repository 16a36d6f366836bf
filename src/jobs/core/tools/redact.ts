// Owns: keeping the values of secrets out of what is stored, logged and shown (JOB12).
import type { SecretValues } from "../worker/messages.ts";

/** What is shorter could be part of any text. */
export const SECRET_LENGTH_MIN = 8;

/** The text with each secret in it replaced by its name; also where it is written as part of a URL. */
export function redactText(text: string, secrets: SecretValues): string {
  let clean = text;
  for (const [name, value] of Object.entries(secrets)) {
    if (value.length < SECRET_LENGTH_MIN) continue;
    const shown = `[secret ${name}]`;
    clean = clean.replaceAll(value, shown);
    const encoded = encodeURIComponent(value);
    if (encoded !== value) clean = clean.replaceAll(encoded, shown);
  }
  return clean;
}

/** Plain data likewise, with the names of its fields; the same object when there is nothing to look for. */
export function redactValue<T>(value: T, secrets: SecretValues): T {
  // A walk gives back what has the same form.
  return Object.keys(secrets).length === 0 ? value : (walk(value, secrets) as T);
}

function walk(value: unknown, secrets: SecretValues): unknown {
  if (typeof value === "string") return redactText(value, secrets);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map((item) => walk(item, secrets));
  return Object.fromEntries(Object.entries(value).map(([name, field]) =>
    [redactText(name, secrets), walk(field, secrets)]));
}

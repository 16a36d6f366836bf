// Owns: which secrets a call is given. Does not own: where they come from (src/node), keeping them out of texts
// (redact.ts).
import type { SecretValues } from "../worker/messages.ts";

/** Of these names those that this node does not have. */
export function missingSecrets(names: readonly string[], secrets: SecretValues): readonly string[] {
  return names.filter((name) => !Object.hasOwn(secrets, name));
}

/** Of these names those that this node has. */
export function pickSecrets(names: readonly string[], secrets: SecretValues): SecretValues {
  const picked = names.flatMap((name): [string, string][] => {
    const value = Object.hasOwn(secrets, name) ? secrets[name] : undefined;
    return value === undefined ? [] : [[name, value]];
  });
  return Object.fromEntries(picked);
}

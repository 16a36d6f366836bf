// Owns: references to secrets: what stands in code and artifacts instead of a key. The value is known to nodes only.
import { AetherError } from "../base/errors.ts";
import { nameSchema } from "./name.ts";

/** A secret by its name. Which variable of its environment it comes from says the configuration of each node. */
export interface Secret {
  readonly kind: "aether-secret";
  readonly name: string;
}

/** Secrets that one tool or model may be given. */
export const SECRETS_MAX = 16;

/**
 * Names a secret that nodes know: `secrets: { NAME: { variable: … } }` in their configuration.
 * @throws AetherError E_INVALID for an unusable name
 * @example
 * const key = secret("openai-key");
 */
export function secret(name: string): Secret {
  const checked = nameSchema.safeParse(name);
  if (checked.success) return { kind: "aether-secret", name };
  const reason = checked.error.issues[0]?.message ?? "";
  throw new AetherError("E_INVALID", `"${name}" cannot be the name of a secret: ${reason}`);
}

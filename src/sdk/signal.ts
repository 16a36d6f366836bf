// Owns: signals: what people and programs tell a job while it runs. Data and types, no behaviour.
import type { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { nameSchema } from "./name.ts";

/** Something that a job can be told, under a name, with the form of what is told. */
export interface Signal<N extends string = string, P extends z.ZodType = z.ZodType> {
  readonly kind: "aether-signal";
  readonly name: N;
  readonly payload: P;
}

/**
 * Defines a signal. Share it between the agent that waits for it and whoever sends it.
 * @throws AetherError E_INVALID when the name cannot be part of a URL.
 * @example
 * export const documents = defineSignal("documents-received", z.object({ url: z.string() }));
 */
export function defineSignal<const N extends string, P extends z.ZodType>(name: N, payload: P): Signal<N, P> {
  const checked = nameSchema.safeParse(name);
  if (!checked.success) {
    const reason = checked.error.issues[0]?.message ?? "";
    throw new AetherError("E_INVALID", `"${name}" cannot be the name of a signal: ${reason}`);
  }
  return { kind: "aether-signal", name, payload };
}

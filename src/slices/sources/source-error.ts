// Owns: the one error of sources that cannot be read.
import { AetherError } from "../../base/errors.ts";

/**
 * Runs `read`. Whatever it throws becomes E_UNAVAILABLE, with what could not be read and why; only the reason of the
 * caller's signal stays what it is.
 */
export async function readable<T>(what: string, read: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    signal?.throwIfAborted();
    const message = `${what} cannot be read: ${reasonOf(cause)}`;
    throw new AetherError("E_UNAVAILABLE", message, { outcome: "none", details: { what }, cause });
  }
}

export function checkBytes(bytes: number, limit: number): void {
  if (bytes <= limit) return;
  throw new AetherError("E_TOO_LARGE", `it has more than ${limit} bytes`, { details: { limit, actual: bytes } });
}

/** `fetch` says only that it failed; why is in the cause. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause instanceof Error ? `${thrown.message}: ${thrown.cause.message}` : thrown.message;
}

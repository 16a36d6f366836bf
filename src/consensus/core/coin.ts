// Owns: the common coin. It only sets the next state, it never decides.
import { hmacSha256 } from "../../base/digest.ts";

/**
 * 1 = keep the value, 0 = give the slot up; the same on every node. Phase 1 prefers to commit; later phases are a bit
 * of HMAC(cluster secret, slot, phase), so that nobody outside can schedule messages against it.
 */
export function coin(secret: string, slot: number, phase: number): 0 | 1 {
  if (phase === 1) return 1;
  const bytes = hmacSha256(secret, `${slot}/${phase}`);
  return ((bytes[0] ?? 0) & 1) === 1 ? 1 : 0;
}

// Owns: telling whether a process runs that is no child of the test.
import { readFileSync } from "node:fs";

/** One that has ended and that nobody has waited for yet (`Z`) does not run any more. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}

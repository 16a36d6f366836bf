// Owns: signals to processes that a worker has started, and to no other process.
import { readFileSync } from "node:fs";
import type { ChildSignal } from "../../env/workers.ts";

export function signalChild(pid: number, signal: ChildSignal): void {
  if (!isOurChild(pid)) return;
  try {
    process.kill(pid, signal);
  } catch {
    // ignored: it has ended.
  }
}

/**
 * A child that ended keeps its number until its worker has waited for it. Between that and the word of it the number
 * may go to another process, which is then no child of ours.
 */
function isOurChild(pid: number): boolean {
  if (process.platform !== "linux") return true;
  try {
    // "PID (NAME) STATE PARENT …", and the name may have blanks and brackets.
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(parent) === process.pid;
  } catch {
    // ignored: there is no such process any more.
    return false;
  }
}

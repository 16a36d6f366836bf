// Owns: what the operating system says of processes: processor time and memory. Linux only; elsewhere nothing is known.
import { readFileSync } from "node:fs";

/** The unit of times in /proc, on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100;
/** In /proc/PID/stat, counted from behind the name, which may hold spaces. */
const USER_TICKS_AT = 11;
const SYSTEM_TICKS_AT = 12;

/** Seconds of processor time that these processes have used; undefined where that is not known. */
export function cpuSeconds(pids: readonly number[]): number | undefined {
  return sum(pids.map((pid) => {
    const stat = read(`/proc/${pid}/stat`);
    const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields === undefined) return undefined;
    return (Number(fields[USER_TICKS_AT]) + Number(fields[SYSTEM_TICKS_AT])) / TICKS_PER_SECOND;
  }));
}

/** Resident memory of a process in bytes; undefined where that is not known. */
export function residentBytes(pid: number): number | undefined {
  const found = /^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return found === null ? undefined : Number(found[1]) * 1_024;
}

/** Seconds of processor time of this process. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // ignored: the process is gone, or this is no Linux
    return undefined;
  }
}

function sum(values: readonly (number | undefined)[]): number | undefined {
  let total = 0;
  for (const value of values) {
    if (value === undefined) return undefined;
    total += value;
  }
  return total;
}

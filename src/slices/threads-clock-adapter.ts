// Owns: the clock that all threads of a process share. It goes on while the process stands still.

const NS_PER_MS = 1e6;

/** Monotonic milliseconds; means nothing outside of this process. */
export function threadsNowMs(): number {
  return Number(process.hrtime.bigint()) / NS_PER_MS;
}

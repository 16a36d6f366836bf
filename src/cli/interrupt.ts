// Owns: what Ctrl-C means for a command under way.
import type { CliIo } from "./cli-io.ts";

/** Runs `act` with a signal that Ctrl-C aborts. */
export async function untilInterrupt<T>(io: CliIo, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const release = io.onInterrupt(() => stop.abort());
  try {
    return await act(stop.signal);
  } finally {
    release();
  }
}

/** The same for what goes on until Ctrl-C: that is how it is meant to end, and no error. */
export async function followUntilInterrupt(io: CliIo, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
  await untilInterrupt(io, async (signal) => {
    try {
      await act(signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  });
}

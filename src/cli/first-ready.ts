// Owns: which of several addresses a command talks to: the first whose node is ready; and whether it still answers.
// Does not own: what becomes of a request that was sent (http-api.ts).
import { SECOND_MS } from "../base/units.ts";
import type { CliIo } from "./cli-io.ts";

/** For one node: one that hangs is passed over, one that is busy is waited for. */
const ANSWER_MS_MAX = 2 * SECOND_MS;

/** Who is passed over is told. When none is ready: the first that answers, or the first, whose failure is told then. */
export async function firstReady(io: CliIo, urls: readonly string[], signal: AbortSignal | undefined): Promise<string> {
  let answering: string | undefined;
  for (const url of urls) {
    const state = await stateOf(url, signal);
    if (state === "ready") return url;
    io.report(`${url} ${state === "silent" ? "does not answer" : "is not ready"}`);
    if (state === "unready") answering ??= url;
  }
  return answering ?? urls[0] ?? "";
}

/**
 * Until the node leaves a question without an answer: its process stands still, or there is no way to it any more. One
 * that says it is not ready has answered.
 */
export async function untilSilent(io: CliIo, url: string, signal: AbortSignal): Promise<void> {
  do await io.sleep(ANSWER_MS_MAX, signal);
  while (await stateOf(url, signal) !== "silent");
}

async function stateOf(url: string, signal: AbortSignal | undefined): Promise<"ready" | "unready" | "silent"> {
  const limit = AbortSignal.timeout(ANSWER_MS_MAX);
  try {
    const ends = signal === undefined ? limit : AbortSignal.any([limit, signal]);
    const answer = await fetch(`${url}/readyz`, { signal: ends });
    await answer.body?.cancel();
    return answer.ok ? "ready" : "unready";
  } catch {
    signal?.throwIfAborted();
    // ignored: whatever the reason, the next one is asked
    return "silent";
  }
}

// Owns: following a stream of a node's server-sent events, and going on with the next node when that one is lost.
// Does not own: what the events say.
import { z } from "zod";
import { AetherError } from "../base/errors.ts";
import { ERRORS } from "../base/error-catalog.ts";
import { HttpApi, parseErrorText } from "./http-api.ts";
import type { Session } from "./options.ts";
import { readEvents, type ReceivedEvent } from "./sse.ts";

const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 2_000;
/** Silence after which a connection counts as lost: a node says something every 10 seconds. */
const SILENCE_MS_MAX = 25_000;

const clusterSchema = z.object({ nodes: z.array(z.object({ address: z.string().nullish() })) });

export interface Followed {
  /** For people: "the watch". */
  readonly what: string;
  /** Asked anew for each connection. */
  readonly path: () => string;
  /** After so long without a word the next node is asked; default 25 s. */
  readonly silenceMsMax?: number;
  /** `over` ends it. */
  readonly take: (event: ReceivedEvent) => "over" | "on";
}

/**
 * Until an event ends it, or the signal does.
 * @throws AetherError what the first node says when it cannot begin, and what no other node would answer differently
 */
export async function followEvents(session: Session, followed: Followed, signal: AbortSignal): Promise<void> {
  let hasBegun = false;
  let apis: readonly HttpApi[] = [session.api];
  for (let attempt = 0, pauseMs = PAUSE_MS_MIN; ; attempt++) {
    const api = apis[attempt % apis.length] ?? session.api;
    try {
      for await (const event of eventsOf(api, followed, signal)) {
        if (!hasBegun) apis = await learnNodes(session);
        hasBegun = true;
        pauseMs = PAUSE_MS_MIN;
        if (followed.take(event) === "over") return;
      }
    } catch (error) {
      if (signal.aborted || !hasBegun || !isOfThisNode(error)) throw error;
      session.io.report(`${api.url} does not serve ${followed.what} any more: going on elsewhere`);
    }
    await session.io.sleep(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
  }
}

/** The events of one connection. */
async function* eventsOf(
  api: HttpApi, { path, silenceMsMax = SILENCE_MS_MAX }: Followed, signal: AbortSignal,
): AsyncGenerator<ReceivedEvent> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), silenceMsMax);
  try {
    const response = await api.stream(path(), AbortSignal.any([signal, silence.signal]));
    for await (const event of readEvents(response.body ?? new ReadableStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), silenceMsMax);
      if (event.event === "error") throw endOf(event);
      yield event;
    }
  } catch (error) {
    if (signal.aborted || error instanceof AetherError) throw error;
    const message = `the connection to ${api.url} was lost`;
    throw new AetherError("E_UNAVAILABLE", message, { outcome: "none", cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Every node that the cluster knows; the one that was named, if nobody says. */
async function learnNodes(session: Session): Promise<readonly HttpApi[]> {
  try {
    const { nodes } = await session.api.get(clusterSchema, "/v1/cluster");
    const others = nodes.flatMap(({ address }) => (typeof address !== "string" ? [] : [address.replace(/\/+$/, "")]));
    return [...new Set([session.api.url, ...others])].map((url) => new HttpApi(session.io, url));
  } catch {
    // ignored: it goes on with the node that serves it
    return [session.api];
  }
}

function endOf(event: ReceivedEvent): AetherError {
  return parseErrorText(event.data) ?? new AetherError("E_UNAVAILABLE", `the node ended the stream: ${event.data}`);
}

/** Whether another node, or this one later, may answer differently. */
function isOfThisNode(error: unknown): boolean {
  if (!(error instanceof AetherError)) return false;
  return error.code === "E_TIMEOUT" || ERRORS[error.code].retry === "elsewhere";
}

// Owns: following the changes below a prefix over HTTP for as long as somebody wants them, over failures of nodes.
// Does not own: how changes are shown.
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

export interface FollowOptions {
  readonly prefix: string;
  /** The first revision wanted; the next one when absent. */
  readonly from: number | undefined;
  readonly signal: AbortSignal;
}

/**
 * Calls back with the events of each revision, whole transactions, each once, until the signal ends it.
 * @throws AetherError what the first node says when it cannot begin; E_COMPACTED when what follows is not held any more
 */
export async function followChanges(
  session: Session,
  options: FollowOptions,
  show: (events: readonly ReceivedEvent[]) => void,
): Promise<never> {
  const { signal, from } = options;
  const place: Place = { next: from };
  let hasBegun = false;
  let apis: readonly HttpApi[] = [session.api];
  for (let attempt = 0, pauseMs = PAUSE_MS_MIN; ; attempt++) {
    const api = apis[attempt % apis.length] ?? session.api;
    try {
      for await (const events of transactionsOf(api, options, place)) {
        if (!hasBegun) apis = await learnNodes(session);
        hasBegun = true;
        pauseMs = PAUSE_MS_MIN;
        show(events);
      }
    } catch (error) {
      if (signal.aborted || !hasBegun || !isOfThisNode(error)) throw error;
      session.io.report(`${api.url} does not serve the watch any more: going on elsewhere`);
    }
    await session.io.sleep(pauseMs, signal);
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
  }
}

/** Where the watch is. */
interface Place {
  /** The first revision not seen; undefined until a node has said where the watch begins. */
  next: number | undefined;
}

/** The events of one connection, grouped by transaction: who is cut off inside one gets it as a whole later. */
async function* transactionsOf(
  api: HttpApi,
  { prefix, signal }: FollowOptions,
  place: Place,
): AsyncGenerator<readonly ReceivedEvent[]> {
  const query = new URLSearchParams({ prefix, ...(place.next === undefined ? {} : { from: String(place.next) }) });
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  try {
    const response = await api.stream(`/v1/kv/watch?${query.toString()}`, AbortSignal.any([signal, silence.signal]));
    let waiting: ReceivedEvent[] = [];
    for await (const event of readEvents(response.body ?? new ReadableStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
      if (event.event === "error") throw endOf(event);
      waiting.push(event);
      if (event.id === undefined) continue;
      place.next = Number(event.id) + 1;
      yield waiting;
      waiting = [];
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
    // ignored: the watch goes on with the node that serves it
    return [session.api];
  }
}

function endOf(event: ReceivedEvent): AetherError {
  return parseErrorText(event.data) ?? new AetherError("E_UNAVAILABLE", `the node ended the watch: ${event.data}`);
}

/** Whether another node, or this one later, may answer differently. */
function isOfThisNode(error: unknown): boolean {
  if (!(error instanceof AetherError)) return false;
  return error.code === "E_TIMEOUT" || ERRORS[error.code].retry === "elsewhere";
}

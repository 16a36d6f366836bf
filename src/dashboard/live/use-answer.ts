// Owns: how a part of the page looks at an answer of the API.
import { useEffect, useMemo } from "preact/hooks";
import { AnswerFeed, type Answer, type Pace } from "./answer-feed.ts";
import { useStore } from "./store.ts";

export interface Answered<T> extends Answer<T> {
  /** Asks now. */
  readonly refresh: () => void;
}

/** Asks for `path` every so often; never without one. What was answered for another path is not shown. */
export function useAnswer<T>(path: string | undefined, everyMs: Pace): Answered<T> {
  return useFeed(useMemo(() => new AnswerFeed<T>(path), [path]), everyMs);
}

/** Of a feed that several parts look at. */
export function useFeed<T>(feed: AnswerFeed<T>, everyMs: Pace): Answered<T> {
  useEffect(() => feed.watch(everyMs), [feed, everyMs]);
  const refresh = useMemo(() => () => feed.refresh(), [feed]);
  return { ...useStore(feed.answer), refresh };
}

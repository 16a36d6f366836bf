// Owns: an answer of the API that is kept current while somebody looks at it: one request at a time, none in a hidden
// page, and nothing is drawn again for an answer that is the same.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { AnswerError, askText } from "../api.ts";
import { after, isVisible, onVisibility, type Stop } from "../browser-adapter.ts";

export interface Answered<T> {
  /** The last one there was, also when the node does not answer now. */
  readonly data: T | undefined;
  readonly failure: AnswerError | undefined;
  /** Asks now. */
  readonly refresh: () => void;
}

interface State<T> {
  readonly path: string | undefined;
  readonly text?: string;
  readonly data?: T | undefined;
  readonly failure?: AnswerError | undefined;
}

const ALWAYS_ALIKE = "";

/** Asks for `path` every so often; never without one. What was answered for another path is not shown. */
export function useAnswer<T>(path: string | undefined, everyMs: number | "once"): Answered<T> {
  const [state, setState] = useState<State<T>>({ path: undefined });
  const asking = useRef<() => void>(() => undefined);
  useEffect(() => {
    if (path === undefined) return undefined;
    const poll = new Poll<T>(path, everyMs, setState);
    asking.current = () => poll.askNow();
    poll.askNow();
    const unlisten = onVisibility((isSeen) => isSeen && poll.askNow());
    return () => {
      unlisten();
      poll.close();
    };
  }, [path, everyMs]);
  const refresh = useCallback(() => asking.current(), []);
  const isOfPath = state.path === path;
  return { data: isOfPath ? state.data : undefined, failure: isOfPath ? state.failure : undefined, refresh };
}

class Poll<T> {
  private readonly path: string;
  private readonly everyMs: number | "once";
  private readonly tell: (change: (before: State<T>) => State<T>) => void;
  private readonly closing = new AbortController();
  private stopTimer: Stop = () => undefined;
  private isAsking = false;
  private isAskedAgain = false;

  constructor(path: string, everyMs: number | "once", tell: (change: (before: State<T>) => State<T>) => void) {
    this.path = path;
    this.everyMs = everyMs;
    this.tell = tell;
  }

  askNow(): void {
    if (this.isAsking) {
      this.isAskedAgain = true;
      return;
    }
    this.stopTimer();
    void this.run();
  }

  close(): void {
    this.stopTimer();
    this.closing.abort();
  }

  private async run(): Promise<void> {
    this.isAsking = true;
    await this.ask();
    this.isAsking = false;
    if (this.closing.signal.aborted) return;
    if (this.isAskedAgain) {
      this.isAskedAgain = false;
      void this.run();
    } else if (this.everyMs !== "once") {
      this.stopTimer = after(this.everyMs, () => isVisible() && this.askNow());
    }
  }

  private async ask(): Promise<void> {
    const { path } = this;
    try {
      const text = await (await askText(path, { signal: this.closing.signal })).text();
      if (this.closing.signal.aborted) return;
      this.tell((before) => {
        const isAlike = before.path === path && before.text === text && before.failure === undefined;
        return isAlike ? before : { path, text, data: JSON.parse(text) as T, failure: undefined };
      });
    } catch (failure) {
      if (this.closing.signal.aborted || !(failure instanceof AnswerError)) return;
      this.tell((before) => (before.path === path ? { ...before, failure } : { path, text: ALWAYS_ALIKE, failure }));
    }
  }
}

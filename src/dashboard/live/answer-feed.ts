// Owns: an answer of the API that is kept current while somebody looks at it: one request at a time for all who look,
// none in a hidden page, and nothing is told of an answer that is the same.
import { AnswerError, askText } from "../api.ts";
import { after, isVisible, onVisibility, type Stop } from "../browser-adapter.ts";
import { Store } from "./store.ts";

export interface Answer<T> {
  /** The last one there was, also when the node does not answer now. */
  readonly data: T | undefined;
  readonly failure: AnswerError | undefined;
}

export type Pace = number | "once";

const NOTHING = { data: undefined, failure: undefined };

export class AnswerFeed<T> {
  readonly answer = new Store<Answer<T>>(NOTHING);
  private readonly path: string | undefined;
  private readonly watchers = new Set<{ readonly everyMs: Pace }>();
  private text: string | undefined;
  private asked: AbortController | undefined;
  private isAskedAgain = false;
  private stopTimer: Stop = () => undefined;
  private unlisten: Stop = () => undefined;

  /** Without a path nothing is asked. */
  constructor(path: string | undefined) {
    this.path = path;
  }

  /** Asks as often as the most eager of those who watch wants it. */
  watch(everyMs: Pace): Stop {
    const watcher = { everyMs };
    if (this.watchers.size === 0) this.unlisten = onVisibility((isSeen) => isSeen && this.refresh());
    this.watchers.add(watcher);
    if (this.asked === undefined) this.refresh();
    return () => {
      this.watchers.delete(watcher);
      if (this.watchers.size === 0) this.rest();
    };
  }

  /** Asks now: what is under way was perhaps answered before. */
  refresh(): void {
    if (this.watchers.size === 0 || this.path === undefined) return;
    if (this.asked !== undefined) {
      this.isAskedAgain = true;
      return;
    }
    this.stopTimer();
    void this.run(this.path);
  }

  private rest(): void {
    this.unlisten();
    this.stopTimer();
    this.asked?.abort();
    this.asked = undefined;
    this.isAskedAgain = false;
  }

  private async run(path: string): Promise<void> {
    const own = new AbortController();
    this.asked = own;
    await this.ask(path, own.signal);
    if (own.signal.aborted) return;
    this.asked = undefined;
    const pauseMs = this.isAskedAgain ? 0 : this.pauseMs();
    this.isAskedAgain = false;
    if (pauseMs !== undefined) this.stopTimer = after(pauseMs, () => isVisible() && this.refresh());
  }

  private pauseMs(): number | undefined {
    const paces = [...this.watchers].flatMap(({ everyMs }) => (everyMs === "once" ? [] : [everyMs]));
    return paces.length === 0 ? undefined : Math.min(...paces);
  }

  private async ask(path: string, signal: AbortSignal): Promise<void> {
    try {
      const text = await (await askText(path, { signal })).text();
      const { failure, data } = this.answer.get();
      if (signal.aborted || (text === this.text && failure === undefined)) return;
      this.answer.set({ data: text === this.text ? data : JSON.parse(text) as T, failure: undefined });
      this.text = text;
    } catch (failure) {
      if (signal.aborted || !(failure instanceof AnswerError)) return;
      this.answer.set({ ...this.answer.get(), failure });
    }
  }
}

// Owns: one stream of server-sent events that is opened again after it has broken, for as long as the page is seen.
import { after, isVisible, onVisibility, type Stop } from "../browser-adapter.ts";

const AGAIN_MS = 1_000;

export interface StreamHandlers {
  /** Each time it is opened: what was missed meanwhile is for whoever listens to read. Answers where to listen. */
  open(): string | Promise<string>;
  readonly events: Readonly<Record<string, (data: unknown) => void>>;
}

/** Until it is stopped. A browser gives one origin six connections: a page has one stream, and hidden ones none. */
export function follow(handlers: StreamHandlers): Stop {
  let source: EventSource | undefined;
  let stopTimer: Stop = () => undefined;
  let isStopped = false;
  let attempt = 0;

  const close = (): void => {
    attempt += 1;
    source?.close();
    source = undefined;
    stopTimer();
  };
  const openLater = (): void => {
    close();
    stopTimer = after(AGAIN_MS, () => void open());
  };
  const open = async (): Promise<void> => {
    close();
    if (isStopped || !isVisible()) return;
    const own = attempt;
    try {
      const path = await handlers.open();
      if (own !== attempt) return;
      source = new EventSource(path);
    } catch {
      // ignored: the node does not answer, which the page says; it is asked again
      if (own === attempt) openLater();
      return;
    }
    source.addEventListener("error", openLater);
    for (const [name, handle] of Object.entries(handlers.events)) {
      source.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
    }
  };
  const unlisten = onVisibility((isSeen) => (isSeen ? void open() : close()));
  void open();
  return () => {
    isStopped = true;
    unlisten();
    close();
  };
}

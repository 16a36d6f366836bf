// Owns: the seconds as the page counts them: one timer for all who show a time, who draw only what reads differently.
import { createContext } from "preact";
import { useContext, useEffect, useReducer, useRef } from "preact/hooks";
import { after, nowMs, type Stop } from "../browser-adapter.ts";

const TICK_MS = 1_000;

export class Clock {
  private readonly listeners = new Set<() => void>();
  private stopTimer: Stop = () => undefined;

  listen(listener: () => void): Stop {
    if (this.listeners.size === 0) this.tickLater();
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.stopTimer();
    };
  }

  private tickLater(): void {
    this.stopTimer = after(TICK_MS, () => {
      this.tickLater();
      for (const listener of this.listeners) listener();
    });
  }
}

const ClockContext = createContext(new Clock());

/** What `read` says of the time now, once a second: the component is drawn again when it says something else. */
export function useTime<T extends string | number>(read: (nowMs: number) => T): T {
  const clock = useContext(ClockContext);
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const said = read(nowMs());
  const latest = useRef({ read, said });
  latest.current = { read, said };
  useEffect(() => clock.listen(() => {
    if (latest.current.read(nowMs()) !== latest.current.said) redraw(undefined);
  }), [clock]);
  return said;
}

/** Draws the component again each second. */
export function useTick(): number {
  return useTime((now) => now);
}

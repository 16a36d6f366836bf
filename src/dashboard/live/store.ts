// Owns: a value that parts of the page show, and hear of when it has changed.
import { useEffect, useReducer } from "preact/hooks";

export class Store<T> {
  private value: T;
  private readonly listeners = new Set<() => void>();

  constructor(value: T) {
    this.value = value;
  }

  get(): T {
    return this.value;
  }

  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    for (const listener of this.listeners) listener();
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

/** The value now; the component is drawn again when it has changed. */
export function useStore<T>(store: Store<T>): T {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const value = store.get();
  useEffect(() => {
    // It may have changed between drawing and here.
    if (!Object.is(store.get(), value)) redraw(undefined);
    return store.listen(() => redraw(undefined));
  }, [store]);
  return value;
}

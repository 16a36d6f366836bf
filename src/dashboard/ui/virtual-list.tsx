// Owns: long lists: only the rows that are seen are in the page, and one of them has the keyboard.
import type { ComponentChildren, JSX, RefObject } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

const OVERSCAN = 6;

/** The row that has the keyboard, or gets it next. */
interface At {
  readonly index: number;
  /** Rows come and go above it: it stays the same row. Undefined before one had it. */
  readonly key: string | undefined;
}

/**
 * Up and down go along the rows, Enter opens one. `rowPx` is the height of each: lists of ten thousand need no
 * measuring. Rows that keep their order among each other stay where they are looked at, whatever comes above them; of
 * those that change it the places stay.
 */
export function VirtualList<T>({ items, rowPx, order, keyOf, hrefOf, label, children }: {
  readonly items: readonly T[];
  readonly rowPx: number;
  readonly order: "kept" | "changes";
  readonly keyOf: (item: T) => string;
  readonly hrefOf: (item: T) => string;
  readonly label: string;
  readonly children: (item: T) => ComponentChildren;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState<View>({ top: 0, height: 600 });
  const [at, setAt] = useState<At>({ index: 0, key: undefined });
  const wantsFocus = useRef(false);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(() => setView(({ top }) => ({ top, height: element.clientHeight })));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useHeldPlace({ box, items, rowPx, keyOf, isHeld: order === "kept" }, view, setView);
  const current = placeOf(at, items, keyOf);
  const first = Math.max(0, Math.floor(view.top / rowPx) - OVERSCAN);
  const last = Math.min(items.length, Math.ceil((view.top + view.height) / rowPx) + OVERSCAN);
  // The row with the keyboard is always there, wherever the list has gone.
  const indexes = [...new Set([current, ...Array.from({ length: Math.max(0, last - first) }, (_, row) => first + row)])]
    .filter((index) => index < items.length).sort((a, b) => a - b);
  const take = (index: number): void => {
    const item = items[index];
    setAt({ index, key: item === undefined ? undefined : keyOf(item) });
  };
  // With the drawing itself: one that comes later would take the wish of a key pressed meanwhile, for the row before.
  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    wantsFocus.current = false;
    box.current?.querySelector<HTMLElement>('[data-current="true"]')?.focus({ preventScroll: true });
  });
  const go = (to: number): void => {
    const target = Math.max(0, Math.min(items.length - 1, to));
    const element = box.current;
    if (element !== null) {
      const top = target * rowPx;
      if (top < element.scrollTop) element.scrollTop = top;
      else if (top + rowPx > element.scrollTop + element.clientHeight) {
        element.scrollTop = top + rowPx - element.clientHeight;
      }
      setView({ top: element.scrollTop, height: element.clientHeight });
    }
    wantsFocus.current = true;
    take(target);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const to = { ArrowDown: current + 1, ArrowUp: current - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  };
  return (
    <div ref={box} class="list" role="list" aria-label={label} onKeyDown={onKeyDown}
      onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}>
      <div class="list-all" style={{ height: `${items.length * rowPx}px` }}>
        {indexes.map((index) => {
          const item = items[index];
          return item !== undefined && (
            <div role="listitem" class="list-row" key={keyOf(item)}
              style={{ top: `${index * rowPx}px`, height: `${rowPx}px` }}>
              <a href={hrefOf(item)} tabIndex={index === current ? 0 : -1} data-current={index === current}
                onFocus={() => take(index)}>
                {children(item)}
              </a>
            </div>
          );
        })}
      </div>
    </div>
  );
}

interface View {
  readonly top: number;
  readonly height: number;
}

/** What is looked at stays where it is while rows come and go above it. At the top it is what comes. */
function useHeldPlace<T>({ box, items, rowPx, keyOf, isHeld }: {
  readonly box: RefObject<HTMLElement | null>;
  readonly items: readonly T[];
  readonly rowPx: number;
  readonly keyOf: (item: T) => string;
  readonly isHeld: boolean;
}, view: View, show: (view: View) => void): void {
  const first = useRef<At | undefined>(undefined);
  useLayoutEffect(() => {
    const element = box.current;
    const before = first.current;
    if (element === null || element.scrollTop === 0 || before === undefined) return;
    const index = placeOf(before, items, keyOf);
    const item = items[index];
    if (index === before.index || item === undefined || keyOf(item) !== before.key) return;
    element.scrollTop += (index - before.index) * rowPx;
    show({ top: element.scrollTop, height: element.clientHeight });
  }, [items]);
  useLayoutEffect(() => {
    const index = Math.floor(view.top / rowPx);
    const item = items[index];
    first.current = isHeld && item !== undefined ? { index, key: keyOf(item) } : undefined;
  });
}

function placeOf<T>({ index, key }: At, items: readonly T[], keyOf: (item: T) => string): number {
  const here = items[index];
  const isHere = key === undefined || (here !== undefined && keyOf(here) === key);
  const found = isHere ? -1 : items.findIndex((item) => keyOf(item) === key);
  return found >= 0 ? found : Math.max(0, Math.min(index, items.length - 1));
}

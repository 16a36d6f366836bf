// Owns: long lists: only the rows that are seen are in the page, and one of them has the keyboard.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const OVERSCAN = 6;

/**
 * Up and down go along the rows, Enter opens one. `rowPx` is the height of each: lists of ten thousand need no
 * measuring.
 */
export function VirtualList<T>({ items, rowPx, keyOf, hrefOf, label, children }: {
  readonly items: readonly T[];
  readonly rowPx: number;
  readonly keyOf: (item: T) => string;
  readonly hrefOf: (item: T) => string;
  readonly label: string;
  readonly children: (item: T) => ComponentChildren;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const [at, setAt] = useState(0);
  const wantsFocus = useRef(false);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(() => setView(({ top }) => ({ top, height: element.clientHeight })));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const current = Math.min(at, Math.max(0, items.length - 1));
  const first = Math.max(0, Math.floor(view.top / rowPx) - OVERSCAN);
  const last = Math.min(items.length, Math.ceil((view.top + view.height) / rowPx) + OVERSCAN);
  useEffect(() => {
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
    setAt(target);
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
        {items.slice(first, last).map((item, offset) => {
          const index = first + offset;
          return (
            <div role="listitem" class="list-row" key={keyOf(item)}
              style={{ top: `${index * rowPx}px`, height: `${rowPx}px` }}>
              <a href={hrefOf(item)} tabIndex={index === current ? 0 : -1} data-current={index === current}
                onFocus={() => setAt(index)}>
                {children(item)}
              </a>
            </div>
          );
        })}
      </div>
    </div>
  );
}

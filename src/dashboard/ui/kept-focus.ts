// Owns: that the keyboard is never nowhere: when what has it is taken out of the page, its neighbour gets it.
// Does not own: dialogs, which give it back to who opened them (dialog.tsx).
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

const FOCUSABLE = 'a[href]:not([tabindex="-1"]), button:not(:disabled), input, select, textarea, [tabindex="0"]';

export function useKeptFocus(within: RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const root = within.current;
    if (root === null) return undefined;
    let last: Node | null = null;
    let heir: HTMLElement | undefined;
    const onFocus = ({ target }: FocusEvent): void => {
      const next = heir;
      heir = undefined;
      if (target === root && next?.isConnected === true) next.focus({ preventScroll: true });
      else last = target instanceof Node ? target : null;
    };
    // Who points at something else does not want it back.
    const onPointer = (): void => {
      last = null;
    };
    const observer = new MutationObserver((changes) => {
      const had = last;
      if (had === null) return;
      const change = changes.find(({ removedNodes }) => [...removedNodes].some((node) => node.contains(had)));
      if (change === undefined) return;
      // Taken out and put back, it has only moved.
      const next = had instanceof HTMLElement && had.isConnected ? had : neighbourOf(change, root);
      if (document.activeElement === document.body) next.focus({ preventScroll: true });
      // A dialog has it now, and gives it to the page when what had opened it is gone.
      else if (!had.isConnected) heir = next;
    });
    root.addEventListener("focusin", onFocus);
    addEventListener("pointerdown", onPointer, true);
    observer.observe(root, { childList: true, subtree: true });
    return () => {
      observer.disconnect();
      removeEventListener("pointerdown", onPointer, true);
      root.removeEventListener("focusin", onFocus);
    };
  }, [within]);
}

/** What comes next, what came before, or whatever is in the same part of the page. */
function neighbourOf({ nextSibling, previousSibling, target }: MutationRecord, root: HTMLElement): HTMLElement {
  for (const beside of [nextSibling, previousSibling]) {
    const found = focusableIn(beside);
    if (found !== undefined) return found;
  }
  for (let part: Node | null = target; part !== null && part !== root; part = part.parentNode) {
    const found = focusableIn(part);
    if (found !== undefined) return found;
  }
  return root;
}

function focusableIn(node: Node | null): HTMLElement | undefined {
  if (!(node instanceof HTMLElement) || !node.isConnected) return undefined;
  if (node.matches(FOCUSABLE)) return node;
  return node.querySelector<HTMLElement>(FOCUSABLE) ?? undefined;
}

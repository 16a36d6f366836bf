// Owns: the one place where a simulated run touches the real event loop: letting promises settle between two events.

/** Resolves after every promise that can settle by itself has settled. */
export function settleMicrotasks(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

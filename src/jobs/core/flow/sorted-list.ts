// Owns: a list that is kept in an order while entries come and go one by one.

/** Below 0 when `a` comes first. Never 0 for two entries that are in one list: each has its own place. */
export type Order<T> = (a: T, b: T) => number;

export class SortedList<T> {
  private readonly order: Order<T>;
  private readonly entries: T[] = [];

  constructor(order: Order<T>) {
    this.order = order;
  }

  get size(): number {
    return this.entries.length;
  }

  get first(): T | undefined {
    return this.entries[0];
  }

  add(entry: T): void {
    this.entries.splice(this.placeOf(entry), 0, entry);
  }

  /** Removes what has this place. */
  remove(entry: T): void {
    const at = this.placeOf(entry);
    const found = this.entries[at];
    if (found !== undefined && this.order(found, entry) === 0) this.entries.splice(at, 1);
  }

  private placeOf(entry: T): number {
    let from = 0;
    let to = this.entries.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      const found = this.entries[middle];
      if (found !== undefined && this.order(found, entry) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }
}

// Owns: which store on disk is the state. A snapshot is written into a new generation beside the one that is used;
// the highest generation that is complete counts, and the others are destroyed.
// Does not own: what is in a generation (kv-state.ts, snapshot-writer.ts).
//
// G1  A generation counts once its checkpoint record is on disk, never before: a crash at any moment leaves one.
// G2  A generation that was complete is destroyed only when a newer complete one is there.
import { AetherError, toAetherError } from "../base/errors.ts";
import type { OrderedStore, StorePort } from "../env/store.ts";
import { CHECKPOINT_ROW, parseCheckpoint } from "./core/checkpoint.ts";
import { weighRows } from "./weigh-rows.ts";

export interface Generation {
  readonly number: number;
  readonly store: OrderedStore;
}

export interface KvGenerationsOptions {
  /**
   * What to do when the state cannot be read: `refuse` (default) fails; `set-aside` begins an empty generation, which
   * needs a snapshot, and leaves what is damaged on disk until then.
   */
  readonly whenDamaged?: "refuse" | "set-aside";
}

const NAME = /^kv(?:-([1-9]\d{0,8}))?$/;

export class KvGenerations {
  /** Why the state that was found at the start is not believed. */
  readonly damage: AetherError | undefined;
  private readonly stores: StorePort;
  private live: Generation;
  /** Numbers of generations that are not believed, but kept until there is a newer state. */
  private aside: readonly number[];
  private isAside: boolean;
  /** Above every generation there ever was since the start. */
  private next: number;
  private readonly retiring = new Set<Promise<void>>();
  private isClosed = false;

  /**
   * Finds the state of this node, or makes an empty one.
   * @throws AetherError E_DATA_LOCKED, E_DATA_CORRUPT, E_VERSION
   */
  static async open(stores: StorePort, options: KvGenerationsOptions = {}): Promise<KvGenerations> {
    const found = (await stores.list()).flatMap(numberOf).sort((a, b) => b - a);
    const next = Math.max(0, ...found) + 1;
    const newest = await findNewest(stores, found);
    if (newest.kind === "damaged") {
      if (options.whenDamaged !== "set-aside") throw newest.error;
      const live = { number: next, store: await stores.open(nameOf(next)) };
      // Each start that finds the damage begins another one.
      for (const number of newest.empty) await stores.destroy(nameOf(number));
      const aside = found.filter((number) => !newest.empty.includes(number));
      return new KvGenerations(stores, { live, aside, damage: newest.error, next: next + 1 });
    }
    const { live, damaged } = newest;
    for (const number of found) {
      if (number !== live.number && !damaged.includes(number)) await stores.destroy(nameOf(number));
    }
    return new KvGenerations(stores, { live, aside: damaged, damage: undefined, next });
  }

  private constructor(
    stores: StorePort,
    start: {
      readonly live: Generation;
      readonly aside: readonly number[];
      readonly damage: AetherError | undefined;
      readonly next: number;
    },
  ) {
    this.stores = stores;
    this.live = start.live;
    this.aside = start.aside;
    this.isAside = start.damage !== undefined;
    this.damage = start.damage;
    this.next = start.next;
  }

  get current(): Generation {
    return this.live;
  }

  /** True while a state that is not believed waits for a newer one. */
  get hasSetAside(): boolean {
    return this.isAside;
  }

  /** An empty generation beside the current one. */
  async create(): Promise<Generation> {
    const number = this.next;
    this.next += 1;
    return { number, store: await this.stores.open(nameOf(number)) };
  }

  /**
   * From now on `generation` is the current one. With `destroy` it is complete, and what was before goes away in the
   * background.
   */
  switchTo(generation: Generation, before: "destroy" | "keep"): void {
    const old = this.live;
    this.live = generation;
    this.isAside = before === "keep";
    if (before === "keep") {
      this.aside = [...this.aside, old.number];
      this.retire(async () => old.store.close());
      return;
    }
    const { aside } = this;
    this.aside = [];
    this.retire(async () => {
      await this.remove(old);
      for (const number of aside) await this.stores.destroy(nameOf(number));
    });
  }

  /** Removes a generation that is not used. */
  async remove({ number, store }: Generation): Promise<void> {
    await store.close();
    await this.stores.destroy(nameOf(number));
  }

  /** Closes the current generation, once what was before is gone. */
  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await Promise.all(this.retiring);
    await this.live.store.close();
  }

  private retire(removal: () => Promise<void>): void {
    const settled = removal()
      // ignored: what could not be removed now is removed at the next start
      .catch(() => undefined)
      .finally(() => this.retiring.delete(settled));
    this.retiring.add(settled);
  }
}

type Newest =
  | { readonly kind: "found"; readonly live: Generation; readonly damaged: readonly number[] }
  /** `empty` never counted. */
  | { readonly kind: "damaged"; readonly error: AetherError; readonly empty: readonly number[] };

/**
 * The newest complete generation, or an empty one where there never was another. An older complete one is used when a
 * newer is damaged: it is only there when the newer one was not used yet, and consensus checks that its log reaches it.
 */
async function findNewest(stores: StorePort, found: readonly number[]): Promise<Newest> {
  const damaged: number[] = [];
  const empty: number[] = [];
  let damage: AetherError | undefined;
  for (const number of found) {
    const opened = await openGeneration(stores, number);
    if (opened.kind === "damaged") {
      damaged.push(number);
      damage ??= opened.error;
    } else if (opened.kind === "complete" || (number === 0 && damage === undefined)) {
      return { kind: "found", live: { number, store: opened.store }, damaged };
    } else {
      empty.push(number);
      await opened.store.close();
    }
  }
  if (damage !== undefined) return { kind: "damaged", error: damage, empty };
  if (found.length === 0) return { kind: "found", live: { number: 0, store: await stores.open(nameOf(0)) }, damaged };
  const message = `the stored state "${nameOf(found[0] ?? 0)}" has no checkpoint record; replace this node's data`;
  return { kind: "damaged", error: new AetherError("E_DATA_CORRUPT", message), empty: [] };
}

type Opened =
  | { readonly kind: "complete" | "incomplete"; readonly store: OrderedStore }
  | { readonly kind: "damaged"; readonly error: AetherError };

/** @throws AetherError whatever is not damage: E_DATA_LOCKED, E_VERSION, E_CONFIG */
async function openGeneration(stores: StorePort, number: number): Promise<Opened> {
  let store: OrderedStore | undefined;
  try {
    store = await stores.open(nameOf(number));
    const row = store.getSync(CHECKPOINT_ROW);
    if (row !== undefined) {
      await weighRows(store, parseCheckpoint(row));
      return { kind: "complete", store };
    }
    // Later generations begin without the record; the first one never has a row without it.
    if (number === 0) await refuseRows(store);
    return { kind: "incomplete", store };
  } catch (thrown) {
    await store?.close();
    const error = toAetherError(thrown);
    if (error.code !== "E_DATA_CORRUPT") throw error;
    return { kind: "damaged", error };
  }
}

async function refuseRows(store: OrderedStore): Promise<void> {
  for await (const [key] of store.entries({})) {
    const found = Buffer.from(key).toString();
    const message = `the stored state has rows ("${found}") but no checkpoint record; replace this node's data`;
    throw new AetherError("E_DATA_CORRUPT", message);
  }
}

function nameOf(generation: number): string {
  return generation === 0 ? "kv" : `kv-${generation}`;
}

/** No number for the names of other stores. */
function numberOf(name: string): readonly number[] {
  const match = NAME.exec(name);
  return match === null ? [] : [Number(match[1] ?? 0)];
}

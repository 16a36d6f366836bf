// Owns: the cluster as the node of this page sees it, every second, with what it was like before; and, when the node
// does not answer any more, which other one does.
import { AnswerError, ask } from "../api.ts";
import type { Cluster } from "../answers.ts";
import { after, goTo, isVisible, nowMs, onVisibility, type Stop } from "../browser-adapter.ts";
import { Store } from "./store.ts";

export interface ClusterSample {
  readonly atMs: number;
  readonly revision: number;
}

export type Connection =
  | { readonly kind: "connecting" }
  | { readonly kind: "connected" }
  /** The node answers, and says why it cannot serve. */
  | { readonly kind: "refused"; readonly failure: AnswerError }
  /** It does not answer. */
  | { readonly kind: "lost"; readonly sinceMs: number; readonly next: NextNode | undefined };

export interface NextNode {
  readonly id: string;
  readonly address: string;
}

const EVERY_MS = 1_000;
/** Enough to say how fast the revision grows. */
const SAMPLES_MAX = 10;
/** One request may be lost; the second tells that the node is. */
const MISSED_MAX = 2;
const PROBE_MS_MAX = 2_000;

export class ClusterFeed {
  readonly cluster = new Store<Cluster | undefined>(undefined);
  readonly connection = new Store<Connection>({ kind: "connecting" });
  readonly samples = new Store<readonly ClusterSample[]>([]);
  private missed = 0;
  private stopTimer: Stop = () => undefined;

  start(): void {
    onVisibility((isSeen) => isSeen && this.askAgain(0));
    void this.run();
  }

  private askAgain(inMs: number): void {
    this.stopTimer();
    this.stopTimer = after(inMs, () => isVisible() && void this.run());
  }

  private async run(): Promise<void> {
    try {
      this.take(await ask<Cluster>("/v1/cluster", { timeoutMs: PROBE_MS_MAX }));
    } catch (failure) {
      if (failure instanceof AnswerError) await this.miss(failure);
    }
    this.askAgain(EVERY_MS);
  }

  private take(cluster: Cluster): void {
    this.missed = 0;
    this.connection.set({ kind: "connected" });
    this.cluster.set(cluster);
    const sample = { atMs: nowMs(), revision: cluster.revision };
    this.samples.set([...this.samples.get().slice(1 - SAMPLES_MAX), sample]);
  }

  private async miss(failure: AnswerError): Promise<void> {
    if (failure.status !== 0) {
      this.missed = 0;
      this.connection.set({ kind: "refused", failure });
      return;
    }
    this.missed += 1;
    if (this.missed < MISSED_MAX) return;
    const before = this.connection.get();
    const sinceMs = before.kind === "lost" ? before.sinceMs : nowMs();
    const next = before.kind === "lost" && before.next !== undefined ? before.next : await this.findNext();
    this.connection.set({ kind: "lost", sinceMs, next });
  }

  /** The first of the other nodes that answers. What it answers cannot be read from here, which is as it should be. */
  private async findNext(): Promise<NextNode | undefined> {
    const cluster = this.cluster.get();
    const others = (cluster?.nodes ?? []).flatMap(({ id, address }): NextNode[] =>
      (address === null || id === cluster?.node ? [] : [{ id, address }]));
    try {
      return await Promise.any(others.map(probe));
    } catch {
      // ignored: none answers, and they are asked again
      return undefined;
    }
  }
}

async function probe(node: NextNode): Promise<NextNode> {
  const limit = new AbortController();
  const stop = after(PROBE_MS_MAX, () => limit.abort());
  try {
    await fetch(new URL("/readyz", node.address), { mode: "no-cors", signal: limit.signal, cache: "no-store" });
    return node;
  } finally {
    stop();
  }
}

/** The same place, as another node shows it. */
export function moveTo({ address }: NextNode, hash: string): void {
  goTo(`${new URL("/", address).href}${hash}`);
}

// Owns: filling the buckets of rates, which is the leader's: each addition is a transaction that fails when another
// node leads. Does not own: the arithmetic (core/flow/rate-bucket.ts), taking (rate-limits.ts).
import type { LeadershipService } from "../../cluster/leadership/leadership-service.ts";
import type { Row, RowView } from "../../cluster/row-view.ts";
import { StoreLoop } from "../../cluster/store-loop.ts";
import type { Clock } from "../../env/clock.ts";
import type { Telemetry } from "../../env/telemetry.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import type { KeyText } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";
import { countedAt, isFull, nextRefillMs, wholeOf, type Counted, type RateRow } from "../core/flow/rate-bucket.ts";

export interface RateRefillPorts {
  readonly kv: Pick<Kv, "transact">;
  readonly rates: Pick<RowView<RateRow>, "rows" | "subscribe">;
  readonly leadership: Pick<LeadershipService, "fence" | "onChange">;
  readonly onFatal: (error: unknown) => void;
}

export class RateRefill {
  private readonly clock: Clock;
  private readonly ports: RateRefillPorts;
  private readonly loop: StoreLoop;
  /** Of the buckets that are not full; empty when another node leads. */
  private readonly counted = new Map<KeyText, Counted>();

  constructor(env: { readonly clock: Clock; readonly telemetry: Telemetry }, ports: RateRefillPorts) {
    this.clock = env.clock;
    this.ports = ports;
    this.loop = new StoreLoop(env, "job rates", { look: (signal) => this.look(signal), onFatal: ports.onFatal });
    ports.rates.subscribe(() => this.loop.notify());
    ports.leadership.onChange(() => this.loop.notify());
  }

  start(): void {
    this.loop.start();
  }

  async close(): Promise<void> {
    await this.loop.close();
  }

  /** Says when to look again; undefined when nothing is to be done until something changes. */
  private async look(signal: AbortSignal): Promise<number | undefined> {
    // What another leader adds from now on is not to be added twice.
    if (this.ports.leadership.fence() === undefined) return void this.counted.clear();
    let waitMs: number | undefined;
    for (const row of [...this.ports.rates.rows().values()]) {
      const nextMs = await this.refill(row, signal);
      if (nextMs !== undefined) waitMs = Math.min(waitMs ?? nextMs, nextMs);
    }
    return waitMs;
  }

  private async refill({ text, modRevision, value }: Row<RateRow>, signal: AbortSignal): Promise<number | undefined> {
    const nowMs = this.clock.nowMs();
    const counted = countedAt(this.counted.get(text) ?? { part: 0, atMs: nowMs }, value, nowMs);
    this.counted.set(text, counted);
    const added = wholeOf(counted);
    if (added > 0) await this.add({ text, modRevision, value }, added, signal);
    const after = this.counted.get(text) ?? counted;
    if (added === 0 && isFull(value, after)) {
      // Time in which it is full does not count.
      this.counted.delete(text);
      return undefined;
    }
    return nextRefillMs(after, value);
  }

  private async add({ text, modRevision, value }: Row<RateRow>, added: number, signal: AbortSignal): Promise<void> {
    const fence = this.ports.leadership.fence();
    const counted = this.counted.get(text);
    if (fence === undefined || counted === undefined) return;
    // Whatever becomes of the transaction: should nobody hear of it, it may have been done.
    this.counted.set(text, { ...counted, part: Math.max(0, counted.part - added) });
    const { succeeded } = await this.ports.kv.transact({
      compare: [fence, unchanged(text, modRevision)],
      then: [{ kind: "put", key: text, value: { ...value, tokens: value.tokens + added } }],
      else: [],
    }, { signal });
    if (!succeeded) this.counted.set(text, counted);
  }
}

// Owns: what the jobs of this node have spent and reserved, by agent, as its metrics show it. Does not own: whether
// they may (core/budget).
import { MICROS_PER_USD } from "../../sdk/budget.ts";
import { NOTHING, type Account, type Amount } from "../core/budget/account.ts";
import type { JobEvent } from "../core/log/event.ts";
import type { JobsMetrics } from "../metrics.ts";

export class Spending {
  private readonly metrics: Pick<JobsMetrics, "spentUsd" | "spentTokens" | "reservedUsd">;
  /** Micro-dollars, by agent. */
  private readonly reserved = new Map<string, number>();

  constructor(metrics: Pick<JobsMetrics, "spentUsd" | "spentTokens" | "reservedUsd">) {
    this.metrics = metrics;
  }

  noteEvents(agent: string, events: readonly JobEvent[]): void {
    for (const event of events) {
      if (event.type === "tool.succeeded" || event.type === "tool.failed") this.noteCost(agent, event.cost ?? NOTHING);
    }
  }

  /** The account of a job that runs here was `before` and is `now`; none before it ran here, and after. */
  noteAccount(agent: string, before: Account | undefined, now: Account | undefined): void {
    const change = (now?.reserved.usdMicros ?? 0) - (before?.reserved.usdMicros ?? 0);
    if (change === 0) return;
    const sum = (this.reserved.get(agent) ?? 0) + change;
    this.reserved.set(agent, sum);
    this.metrics.reservedUsd.set(sum / MICROS_PER_USD, { agent });
  }

  private noteCost(agent: string, { usdMicros = 0, tokens = 0 }: Amount): void {
    if (usdMicros > 0) this.metrics.spentUsd.add(usdMicros / MICROS_PER_USD, { agent });
    if (tokens > 0) this.metrics.spentTokens.add(tokens, { agent });
  }
}

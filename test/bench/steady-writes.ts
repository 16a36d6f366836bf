// Owns: writers that go on and on, and what is seen of them in stretches of time: rate, longest time without any
// acknowledged write, failures.
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { toAetherError } from "../../src/base/errors.ts";
import { type Client, connect } from "../../dist/client/connect.js";

const TIMEOUT_MS = 30_000;
const REFUSED_PAUSE_MS = 5;
const VALUE = "x".repeat(256);
const KEYS_PER_WRITER = 64;

interface Stretch {
  readonly startMs: number;
  lastMs: number;
  gapMs: number;
  writes: number;
  readonly failures: Map<string, number>;
}

export class SteadyWrites {
  private readonly clients: readonly Client[];
  private readonly writers: readonly Promise<void>[];
  private stretch = newStretch();
  private isStopping = false;

  constructor(apis: readonly string[], writers: number) {
    this.clients = apis.map((api) => connect({ nodes: [api], discovery: "off" }));
    this.writers = Array.from({ length: writers }, (_, writer) => this.write(writer));
  }

  /** A stretch begins; its end says in one line what it was like. */
  begin(): { end(): string } {
    this.stretch = newStretch();
    return { end: () => describe(this.stretch) };
  }

  async during(ms: number): Promise<string> {
    const stretch = this.begin();
    await sleep(ms);
    return stretch.end();
  }

  async close(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.writers);
    for (const client of this.clients) client.close();
  }

  private async write(writer: number): Promise<void> {
    const client = this.clients[writer % this.clients.length];
    for (let count = 0; !this.isStopping; count++) {
      try {
        await client?.kv.put(`data/steady/${writer}/${count % KEYS_PER_WRITER}`, VALUE, { timeoutMs: TIMEOUT_MS });
        noteWrite(this.stretch);
      } catch (error) {
        // ignored: counted, and shown beside the rate
        const { code } = toAetherError(error);
        this.stretch.failures.set(code, (this.stretch.failures.get(code) ?? 0) + 1);
        await sleep(REFUSED_PAUSE_MS);
      }
    }
  }
}

function newStretch(): Stretch {
  const nowMs = performance.now();
  return { startMs: nowMs, lastMs: nowMs, gapMs: 0, writes: 0, failures: new Map() };
}

function noteWrite(stretch: Stretch): void {
  const nowMs = performance.now();
  stretch.gapMs = Math.max(stretch.gapMs, nowMs - stretch.lastMs);
  stretch.lastMs = nowMs;
  stretch.writes += 1;
}

function describe({ startMs, lastMs, gapMs, writes, failures }: Stretch): string {
  const nowMs = performance.now();
  const rate = (writes * 1_000) / (nowMs - startMs);
  const gap = Math.max(gapMs, nowMs - lastMs);
  const failed = [...failures].map(([code, count]) => `${count} ${code}`).join(", ");
  return `${rate.toFixed(0)} puts/s, longest gap ${gap.toFixed(0)} ms, failed: ${failed || "none"}`;
}

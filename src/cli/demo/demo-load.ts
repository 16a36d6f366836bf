// Owns: the load of the demo: writers and callers that go on through the kill, and what became of each request.
import { toAetherError } from "../../base/errors.ts";
import type { Client } from "../../client/connect.ts";
import type { CliIo } from "../cli-io.ts";

const WRITERS_PER_CLIENT = 4;
const READ_CALLERS_PER_CLIENT = 2;
const WRITE_PAUSE_MS = 2;
const CALL_PAUSE_MS = 5;
const PLACE_PAUSE_MS = 25;
const WRITE_TIMEOUT_MS = 5_000;

export interface CallCounts {
  made: number;
  failed: number;
  retried: number;
  readonly failures: string[];
}

export class DemoLoad {
  /** Keys of acknowledged writes, with their values. */
  readonly acknowledged = new Map<string, number>();
  readonly acknowledgedAtMs: number[] = [];
  /** Writes that ended without an answer: they may or may not be there. */
  unknownWrites = 0;
  readonly reads: CallCounts = newCounts();
  readonly writes: CallCounts = newCounts();
  private readonly io: CliIo;
  private readonly running: Promise<void>[] = [];
  private isStopping = false;

  constructor(io: CliIo) {
    this.io = io;
  }

  /** One client per node, so that every node has writers and callers of its own. */
  start(clients: readonly Client[]): void {
    clients.forEach((client, at) => {
      for (let writer = 0; writer < WRITERS_PER_CLIENT; writer++)
        this.running.push(this.write(client, `${at}-${writer}`));
      for (let caller = 0; caller < READ_CALLERS_PER_CLIENT; caller++) this.running.push(this.preview(client));
      this.running.push(this.place(client));
    });
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.running);
  }

  /** The longest time without an acknowledged write in this span. */
  longestGapMs(fromMs: number, untilMs: number): number {
    const times = this.acknowledgedAtMs.filter((at) => at >= fromMs && at <= untilMs).sort((a, b) => a - b);
    let longest = 0;
    let last = fromMs;
    for (const at of [...times, untilMs]) {
      longest = Math.max(longest, at - last);
      last = at;
    }
    return longest;
  }

  private async write(client: Client, writer: string): Promise<void> {
    for (let count = 0; !this.isStopping; count++) {
      const key = `data/demo/${writer}/${String(count).padStart(6, "0")}`;
      try {
        await client.kv.put(key, count, { timeoutMs: WRITE_TIMEOUT_MS });
        this.acknowledged.set(key, count);
        this.acknowledgedAtMs.push(this.io.nowMs());
      } catch (error) {
        // A write without an answer is not repeated: the next key shows when the cluster takes writes again.
        if (toAetherError(error).outcome === "unknown") this.unknownWrites += 1;
        else await this.io.sleep(CALL_PAUSE_MS);
      }
      await this.io.sleep(WRITE_PAUSE_MS);
    }
  }

  private async preview(client: Client): Promise<void> {
    while (!this.isStopping) {
      await this.call(client, this.reads, { method: "preview", effect: "read" });
      await this.io.sleep(CALL_PAUSE_MS);
    }
  }

  private async place(client: Client): Promise<void> {
    while (!this.isStopping) {
      await this.call(client, this.writes, { method: "place", effect: "write" });
      await this.io.sleep(PLACE_PAUSE_MS);
    }
  }

  private async call(
    client: Client,
    counts: CallCounts,
    what: { readonly method: string; readonly effect: "read" | "write" },
  ): Promise<void> {
    counts.made += 1;
    try {
      const { attempts } = await client.call({ slice: "orders", ...what, input: { sku: "book", quantity: 1 } });
      counts.retried += attempts - 1;
    } catch (error) {
      counts.failed += 1;
      const { code, message } = toAetherError(error);
      counts.failures.push(`${code}: ${message}`);
    }
  }
}

function newCounts(): CallCounts {
  return { made: 0, failed: 0, retried: 0, failures: [] };
}

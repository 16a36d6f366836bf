// Slow. Blind writes of clients that send again what was not answered, while nodes are killed: each put raises its
// key's version by one, so a version counts how often puts ran.
import { expect, test } from "vitest";
import { AetherError } from "../../src/base/errors.ts";
import { type Client, connect } from "../../src/client/connect.ts";
import { eventually, NodeFleet } from "../support/node-fleet.ts";

const CLIENTS = 4;
const COUNTERS_PER_CLIENT = 8;
const ROUNDS = 2;
/** Longer than any node is away. */
const TIMEOUT_MS = 30_000;

class Counter {
  acknowledged = 0;
  unknown = 0;
  refused = 0;
  private readonly client: Client;
  private readonly key: string;

  constructor(client: Client, key: string) {
    this.client = client;
    this.key = key;
  }

  async run(isDone: () => boolean): Promise<void> {
    while (!isDone()) {
      try {
        const then = [{ kind: "put", key: this.key, value: this.acknowledged } as const];
        await this.client.kv.transact({ compare: [], then }, { timeoutMs: TIMEOUT_MS });
        this.acknowledged++;
      } catch (error) {
        expect(error).toBeInstanceOf(AetherError);
        if ((error as AetherError).outcome === "unknown") this.unknown++;
        else this.refused++;
      }
    }
  }

  async check(reader: Client): Promise<void> {
    const { entry } = await reader.kv.get(this.key, { timeoutMs: TIMEOUT_MS });
    const version = entry?.version ?? 0;
    const told = `${this.acknowledged} acknowledged, ${this.unknown} unknown, ${this.refused} refused`;
    expect(version, `${this.key}: ${told}`).toBeGreaterThanOrEqual(this.acknowledged);
    expect(version, `${this.key}: ${told}`).toBeLessThanOrEqual(this.acknowledged + this.unknown);
  }
}

test("nodes are killed in turn: every acknowledged write ran once, none ran twice", async () => {
  const fleet = await NodeFleet.open();
  await fleet.startAll();
  // Each knows one node only, and finds the others by itself.
  const clients = Array.from({ length: CLIENTS }, (_, at) => connect({ nodes: [fleet.apis[at % 3] ?? ""] }));
  const counters = clients.flatMap((client, at) =>
    Array.from({ length: COUNTERS_PER_CLIENT }, (_, index) => new Counter(client, `data/count/${at}-${index}`)),
  );
  let isDone = false;
  const running = Promise.all(counters.map((counter) => counter.run(() => isDone)));
  const total = (what: "acknowledged" | "unknown" | "refused"): number =>
    counters.reduce((sum, counter) => sum + counter[what], 0);
  const progress = async (): Promise<void> => {
    const enough = counters.map(({ acknowledged }) => acknowledged + 5);
    const hasGoneOn = (): boolean => counters.every(({ acknowledged }, at) => acknowledged >= (enough[at] ?? 0));
    await eventually("every counter goes on", () => hasGoneOn() || undefined);
  };
  await progress();
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of fleet.names) {
      await fleet.kill(name);
      await progress();
      await fleet.start(name);
      await progress();
    }
  }
  isDone = true;
  await running;
  for (const counter of counters) await counter.check(clients[0] as Client);
  for (const client of clients) client.close();
  process.stdout.write(
    `${3 * ROUNDS} kills: ${total("acknowledged")} acknowledged, ${total("unknown")} unknown, ` +
    `${total("refused")} refused\n`,
  );
});

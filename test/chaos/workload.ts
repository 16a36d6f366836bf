// Owns: the clients of a chaos run: real ones over real sockets, with time to think between operations, on registers,
// lists that grow by compare-and-set, and keys that are written once. They move to new registers and lists as time goes
// by, so that every history stays short enough to be judged.
import { setTimeout as sleep } from "node:timers/promises";
import { toAetherError } from "../../src/base/errors.ts";
import type { Random } from "../../src/base/random.ts";
import { type Client, connect } from "../../src/client/connect.ts";
import type { RegisterAction } from "../sim/checkers/register-checker.ts";
import type { Call, History, Outcome, Sample } from "./history.ts";

export const PREFIX = "data/chaos/";
const CLIENTS_PER_NODE = 3;
const THINK_MS_MAX = 30;
const TIMEOUT_MS_MIN = 500;
const TIMEOUT_MS_SPAN = 2_500;
/** How long the same registers and lists are in use. */
const EPOCH_MS = 3_000;
const REGISTERS = 5;
const LISTS = 3;

interface Answer<T> {
  readonly call: Call;
  readonly outcome: Outcome;
  readonly returned: number;
  readonly code: string | undefined;
  readonly value: T | undefined;
}

export class Workload {
  private readonly clients: readonly ChaosClient[];
  private readonly running: Promise<void>[] = [];
  private isStopping = false;

  constructor(apis: readonly string[], history: History, random: Random) {
    this.clients = Array.from({ length: apis.length * CLIENTS_PER_NODE }, (_, index) => {
      return new ChaosClient(`c${index}`, connect({ nodes: apis }), history, random.fork(`client ${index}`));
    });
  }

  start(): void {
    for (const client of this.clients) this.running.push(client.run(() => this.isStopping));
  }

  /** Resolves when every client has its last answer. */
  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.running);
    for (const client of this.clients) client.close();
  }
}

class ChaosClient {
  private readonly name: string;
  private readonly client: Client;
  private readonly history: History;
  private readonly random: Random;
  /** What this client saw in a register last. */
  private readonly seen = new Map<string, string>();
  private count = 0;

  constructor(name: string, client: Client, history: History, random: Random) {
    this.name = name;
    this.client = client;
    this.history = history;
    this.random = random;
  }

  close(): void {
    this.client.close();
  }

  async run(isStopping: () => boolean): Promise<void> {
    while (!isStopping()) {
      await this.act();
      await sleep(this.random.next() * THINK_MS_MAX);
    }
  }

  private async act(): Promise<void> {
    this.count += 1;
    const tag = `${this.name}.${this.count}`;
    const epoch = Math.floor((performance.now() - this.history.startedMs) / EPOCH_MS);
    const kind = this.random.below(10);
    if (kind < 6) await this.useRegister(`${PREFIX}register/${epoch}.${this.random.below(REGISTERS)}`, tag);
    else if (kind < 9) await this.useList(`${PREFIX}list/${epoch}.${this.random.below(LISTS)}`, tag);
    else await this.writeOnce(`${PREFIX}ledger/${tag}`, tag);
  }

  private async useRegister(key: string, tag: string): Promise<void> {
    const kind = this.random.below(10);
    if (kind < 4) await this.readRegister(key);
    else if (kind < 6) await this.writeRegister(key, { kind: "put", value: tag });
    else if (kind < 7) await this.deleteRegister(key);
    else await this.compareAndSet(key, this.seen.get(key) ?? "never", tag);
  }

  private async readRegister(key: string): Promise<void> {
    const { call, outcome, returned, value } = await this.ask("read", async (timeoutMs) => {
      const { entry } = await this.client.kv.get(key, { timeoutMs });
      return { saw: typeof entry?.value === "string" ? entry.value : undefined };
    });
    if (outcome !== "ok" || value === undefined) return;
    this.history.addRegister(key, call, returned, { kind: "get", saw: value.saw });
    if (value.saw !== undefined) this.seen.set(key, value.saw);
  }

  private async writeRegister(key: string, action: RegisterAction & { readonly kind: "put" }): Promise<void> {
    const answer = await this.ask("write", (timeoutMs) => this.client.kv.put(key, action.value, { timeoutMs }));
    this.keepRegister(key, answer, action);
    if (answer.outcome === "ok") this.seen.set(key, action.value);
  }

  private async deleteRegister(key: string): Promise<void> {
    const answer = await this.ask("write", (timeoutMs) => this.client.kv.delete(key, { timeoutMs }));
    this.keepRegister(key, answer, { kind: "delete", deleted: answer.value?.deleted === true });
  }

  private async compareAndSet(key: string, expected: string, value: string): Promise<void> {
    const answer = await this.ask("write", (timeoutMs) => this.client.kv.transact({
      compare: [{ key, target: "value", op: "=", value: expected }],
      then: [{ kind: "put", key, value }],
      else: [{ kind: "get", key }],
    }, { timeoutMs }));
    const [found] = answer.value?.results ?? [];
    const kept = found?.kind === "get" && typeof found.entry?.value === "string" ? found.entry.value : undefined;
    const hasSwapped = answer.value?.succeeded === true;
    const saw = hasSwapped ? ({ kind: "swapped" } as const) : ({ kind: "kept", value: kept } as const);
    this.keepRegister(key, answer, { kind: "cas", expected, value, saw });
    if (answer.outcome === "ok") this.seen.set(key, hasSwapped ? value : (kept ?? "never"));
  }

  private keepRegister(key: string, { call, outcome, returned }: Answer<unknown>, action: RegisterAction): void {
    if (outcome === "failed") return;
    this.history.addRegister(key, call, outcome === "ok" ? returned : undefined, action);
  }

  /** Reads the list; appends to what it saw, if nobody did in between. */
  private async useList(key: string, item: string): Promise<void> {
    const read = await this.ask("read", (timeoutMs) => this.client.kv.get(key, { timeoutMs }));
    if (read.outcome !== "ok" || read.value === undefined) return;
    const { entry } = read.value;
    const items = Array.isArray(entry?.value) ? entry.value.map(String) : [];
    this.history.addList(key, { kind: "read", called: read.call.called, returned: read.returned, items });
    const options = { ifModRevision: entry?.modRevision ?? 0 };
    const append = await this.ask("write", (timeoutMs) => {
      return this.client.kv.put(key, [...items, item], { ...options, timeoutMs });
    });
    const outcome = append.outcome === "ok"
      ? ({ kind: "ok", returned: append.returned } as const)
      : ({ kind: append.outcome } as const);
    this.history.addList(key, { kind: "append", called: append.call.called, item, outcome });
  }

  private async writeOnce(key: string, value: string): Promise<void> {
    const { outcome } = await this.ask("write", (timeoutMs) => this.client.kv.put(key, value, { timeoutMs }));
    this.history.ledger.set(key, outcome);
  }

  private async ask<T>(kind: Sample["kind"], request: (timeoutMs: number) => Promise<T>): Promise<Answer<T>> {
    const timeoutMs = TIMEOUT_MS_MIN + this.random.below(TIMEOUT_MS_SPAN);
    const call = this.history.call();
    try {
      const value = await request(timeoutMs);
      return { call, outcome: "ok", returned: this.history.returned(call, kind, "ok"), code: undefined, value };
    } catch (error) {
      const { code, outcome: said } = toAetherError(error);
      // A comparison that did not hold is an answer: the store works.
      const outcome: Outcome = said === "unknown" ? "unknown" : "failed";
      const counted: Outcome = code === "E_CONFLICT" && outcome === "failed" ? "ok" : outcome;
      return { call, outcome, returned: this.history.returned(call, kind, counted, code), code, value: undefined };
    }
  }
}

// Owns: writers that go on while nodes come and go, what became of each write, and whether every node has the same.
// Every write is of a key of its own, so that one that ran twice shows as a second version.
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { z } from "zod";
import { ERRORS, type ErrorCode } from "../../../src/base/error-catalog.ts";
import { AetherError, toAetherError } from "../../../src/base/errors.ts";
import { type Client, connect } from "../../../src/client/connect.ts";
import { ask, eventually, type NodeFleet } from "../../support/node-fleet.ts";

const PREFIX = "data/load/";
const COUNTER = "data/counter";
const WRITERS_PER_NODE = 2;
const PAUSE_MS = 1;
const TIMEOUT_MS = 5_000;
/** What a writer may hear while nodes come and go. */
const EXPECTED_REFUSALS: readonly ErrorCode[] = ["E_NO_QUORUM", "E_UNAVAILABLE", "E_OVERLOADED"];

const pageSchema = z.object({
  entries: z.array(z.object({ key: z.string(), value: z.unknown(), modRevision: z.number(), version: z.number() })),
  more: z.boolean(),
  revision: z.number(),
});
const errorSchema = z.object({
  error: z.object({
    code: z.custom<ErrorCode>((code) => typeof code === "string" && Object.hasOwn(ERRORS, code)),
    message: z.string(),
    outcome: z.enum(["not-applied", "unknown"]).exactOptional(),
  }),
});
type Entry = z.output<typeof pageSchema>["entries"][number];

interface Step {
  readonly value: number;
  readonly revision: number;
}

export class WriteLoad {
  /** Acknowledged writes: the revision each was told. */
  readonly acknowledged = new Map<string, number>();
  readonly acknowledgedAtMs: number[] = [];
  /** Writes that ended without an answer: they may or may not be there, at most once. */
  readonly unknown = new Set<string>();
  private readonly surprises: string[] = [];
  private readonly steps: Step[] = [];
  private unknownSteps = 0;
  /** The highest number whose step was acknowledged: no read that begins later may see less. */
  private countedTo = 0;
  private staleReads = 0;
  private readonly fleet: NodeFleet;
  /** Each has writers of its own. */
  private readonly names: readonly string[];
  private readonly clients: Client[] = [];
  private readonly writers: Promise<void>[] = [];
  private isStopping = false;

  constructor(fleet: NodeFleet, names = fleet.names) {
    this.fleet = fleet;
    this.names = names;
  }

  /** On every node: writers over the binary protocol and over HTTP, and one that counts by compare-and-set. */
  start(): void {
    const all = this.names.map((name) => this.fleet.api(name));
    this.names.forEach((name, at) => {
      const apis = [...all.slice(at), ...all.slice(0, at)];
      const client = connect({ nodes: apis });
      this.clients.push(client);
      for (let writer = 0; writer < WRITERS_PER_NODE; writer++) {
        this.writers.push(this.write(`c${name}-${writer}`, (key) => putByClient(client, key)));
      }
      this.writers.push(this.write(`h${name}`, (key) => putByHttp(this.fleet.api(name), key)));
      this.writers.push(this.count(client));
    });
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.writers);
    for (const client of this.clients) client.close();
  }

  /** Waits until so many more writes are acknowledged: the cluster serves. */
  async progress(writes = 100): Promise<void> {
    const enough = this.acknowledged.size + writes;
    await eventually(`${writes} more acknowledged writes`, () => this.acknowledged.size >= enough || undefined);
  }

  /** The longest time without an acknowledged write since then. */
  longestGapMs(sinceMs: number): number {
    const times = [sinceMs, ...this.acknowledgedAtMs.filter((at) => at >= sinceMs)].sort((a, b) => a - b);
    return times.reduce((longest, at, index) => Math.max(longest, at - (times[index - 1] ?? at)), 0);
  }

  /** The own copy of each of these nodes has every acknowledged write once and none that was refused; all are equal. */
  async expectOnEveryNode(names = this.fleet.names): Promise<void> {
    const apis = names.map((name) => this.fleet.api(name));
    expect(this.surprises.slice(0, 5), "refusals that no node that comes or goes explains").toEqual([]);
    expect(this.acknowledged.size).toBeGreaterThan(0);
    const last = Math.max(...this.acknowledged.values(), ...this.steps.map((step) => step.revision));
    const copies = await eventually("all copies are equal", async () => {
      const read = await Promise.all(apis.map((api) => readSettledCopy(api, last)));
      for (const copy of read) expectEqualCopies(copy, read[0] ?? copy);
      return read;
    });
    for (const copy of copies) this.expectWrites(copy);
    await this.expectCounter(apis[0] ?? "");
  }

  private expectWrites(copy: ReadonlyMap<string, Entry>): void {
    const lost = [...this.acknowledged].filter(([key, revision]) => copy.get(key)?.modRevision !== revision);
    expect(lost, "acknowledged writes that are missing or have another revision").toEqual([]);
    const twice = [...copy.values()].filter((entry) => entry.version !== 1);
    expect(twice, "writes that ran more than once").toEqual([]);
    const uninvited = [...copy.keys()].filter((key) => !this.acknowledged.has(key) && !this.unknown.has(key));
    expect(uninvited, "writes that were refused and yet are there").toEqual([]);
  }

  /** Each acknowledged step has a number of its own, and numbers grow as revisions do. */
  private async expectCounter(api: string): Promise<void> {
    const steps = [...this.steps].sort((a, b) => a.value - b.value);
    expect(steps.length).toBeGreaterThan(0);
    expect(this.staleReads, "linearizable reads that missed an acknowledged write").toBe(0);
    for (const [index, step] of steps.entries()) {
      const before = steps[index - 1];
      if (before === undefined) continue;
      expect(step.value, "two steps to the same number").toBeGreaterThan(before.value);
      expect(step.revision, "numbers in another order than revisions").toBeGreaterThan(before.revision);
    }
    const { body } = await ask(`${api}/v1/kv/${COUNTER}`);
    const { value } = z.object({ value: z.number() }).parse(body);
    expect(value).toBeGreaterThanOrEqual(steps.length);
    expect(value).toBeLessThanOrEqual(steps.length + this.unknownSteps);
  }

  private async write(writer: string, put: (key: string) => Promise<number>): Promise<void> {
    for (let count = 0; !this.isStopping; count++) {
      const key = `${PREFIX}${writer}/${String(count).padStart(6, "0")}`;
      try {
        this.acknowledged.set(key, await put(key));
        this.acknowledgedAtMs.push(Date.now());
        await sleep(PAUSE_MS);
      } catch (error) {
        const { code, message, outcome } = toAetherError(error);
        if (outcome === "unknown") this.unknown.add(key);
        else if (!EXPECTED_REFUSALS.includes(code)) this.surprises.push(`${code}: ${message}`);
        await sleep(10 * PAUSE_MS);
      }
    }
  }

  private async count(client: Client): Promise<void> {
    while (!this.isStopping) {
      try {
        const floor = this.countedTo;
        const { entry } = await client.kv.get(COUNTER, { timeoutMs: TIMEOUT_MS });
        this.staleReads += z.number().default(0).parse(entry?.value) < floor ? 1 : 0;
        const value = z.number().default(0).parse(entry?.value) + 1;
        const options = { ifModRevision: entry?.modRevision ?? 0, timeoutMs: TIMEOUT_MS };
        const { revision } = await client.kv.put(COUNTER, value, options);
        this.steps.push({ value, revision });
        this.countedTo = Math.max(this.countedTo, value);
      } catch (error) {
        const { code, outcome } = toAetherError(error);
        if (outcome === "unknown") this.unknownSteps += 1;
        else if (code !== "E_CONFLICT") await sleep(10 * PAUSE_MS);
      }
    }
  }
}

async function putByClient(client: Client, key: string): Promise<number> {
  const { revision } = await client.kv.put(key, key, { timeoutMs: TIMEOUT_MS });
  return revision;
}

/** A request that failed on its way counts as unknown, whatever the reason. */
async function putByHttp(api: string, key: string): Promise<number> {
  const { status, body } = await ask(`${api}/v1/kv/${key}`, { method: "PUT", body: key });
  if (status === 200) return z.object({ revision: z.number() }).parse(body).revision;
  throw AetherError.fromBody(errorSchema.parse(body).error);
}

function expectEqualCopies(copy: ReadonlyMap<string, Entry>, other: ReadonlyMap<string, Entry>): void {
  const differing = [...other.values()].filter((entry) => copy.get(entry.key)?.modRevision !== entry.modRevision);
  expect(differing.slice(0, 5)).toEqual([]);
  expect(copy.size).toBe(other.size);
}

/** The node's own copy, without asking the others, once it has applied this revision. */
async function readSettledCopy(api: string, revision: number): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  for (let after = ""; ; ) {
    const page = await eventually(`${api} has applied revision ${revision}`, async () => {
      const found = await readPage(api, after);
      return found.revision >= revision ? found : undefined;
    });
    for (const entry of page.entries) entries.set(entry.key, entry);
    after = page.entries.at(-1)?.key ?? after;
    if (!page.more) return entries;
  }
}

async function readPage(api: string, after: string): Promise<z.output<typeof pageSchema>> {
  const query = new URLSearchParams({ prefix: PREFIX, limit: "1000", consistency: "local" });
  if (after !== "") query.set("after", after);
  return pageSchema.parse((await ask(`${api}/v1/kv?${query}`)).body);
}

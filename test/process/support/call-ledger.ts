// Owns: callers that read and write while nodes come and go, what each was told of each write, and whether it is true:
// a handler that runs leaves a line in a file, whatever becomes of its node.
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { toAetherError } from "../../../src/base/errors.ts";
import type { Client } from "../../../src/client/connect.ts";
import { eventually, type NodeFleet } from "../../support/node-fleet.ts";
import type { HandmadeSlice } from "./call-slices.ts";
import { SteadyCalls } from "./steady-calls.ts";

const CALLERS_PER_NODE = 3;
const PAUSE_MS = 2;
const TIMEOUT_MS = 5_000;

/** A slice whose `mark` leaves the id of its call in the file, and takes some time about it. */
export function markingSlice(artifact: string, journal: string): HandmadeSlice {
  return {
    artifact,
    head: `import { appendFileSync } from "node:fs";`,
    methods: {
      look: { effect: "read", handler: "async () => { await sleep(1); return {}; }" },
      mark: {
        effect: "write",
        handler: `async ({ id }) => {
          appendFileSync(${JSON.stringify(journal)}, id + "\\n");
          await sleep(3);
          return {};
        }`,
      },
    },
  };
}

/** A slice whose `mark` is that of another one, called through the cluster. */
export function relayingSlice(artifact: string, target: string): HandmadeSlice {
  return {
    artifact,
    uses: { target: { slice: target, methods: { look: "read", mark: "write" } } },
    methods: {
      look: { effect: "read", handler: "(input, ctx) => ctx.uses.target.look(input)" },
      mark: { effect: "write", handler: "(input, ctx) => ctx.uses.target.mark(input)" },
    },
  };
}

export class CallLedger {
  private readonly applied = new Set<string>();
  /** What was said of those that may have run, and of those that were told to have had no effect. */
  private readonly unknown = new Map<string, string>();
  private readonly refused = new Map<string, string>();
  private readonly failedReads: string[] = [];
  private readonly journal: string;
  private readonly calls: SteadyCalls;

  /** Every caller knows all nodes, begins at its own, and looks and marks in turn. */
  constructor(fleet: NodeFleet, slices: readonly string[], journal: string) {
    this.journal = journal;
    const run = `${Date.now()}`;
    const callers = fleet.names.flatMap((name) => Array.from({ length: CALLERS_PER_NODE }, () => fleet.api(name)));
    this.calls = new SteadyCalls(callers, async (client, caller, count) => {
      const slice = slices[Math.floor(count / 2) % slices.length] ?? "";
      if (count % 2 === 0) await this.look(client, slice);
      else await this.mark(client, slice, `${run}-${caller}-${count}`);
      await sleep(PAUSE_MS);
    });
  }

  /** Waits until so many more writes are acknowledged. */
  async progress(writes = 100): Promise<void> {
    const enough = this.applied.size + writes;
    await eventually(`${writes} more acknowledged writes`, () => this.applied.size >= enough || undefined);
  }

  stop(): Promise<void> {
    return this.calls.stop();
  }

  /** What did not go well, in the order of the callers' interest: nothing where no call may fail. */
  get failures(): readonly string[] {
    const marks = [...this.unknown, ...this.refused].map(([id, said]) => `${id}: ${said}`);
    return [...this.failedReads, ...marks];
  }

  get failedLooks(): readonly string[] {
    return this.failedReads;
  }

  get refusedMarks(): readonly string[] {
    return [...this.refused.values()];
  }

  get summary(): string {
    const { applied, unknown, refused, failedReads } = this;
    const parts = [`${applied.size} writes applied`, `${unknown.size} unknown`, `${refused.size} refused`];
    return [...parts, `${failedReads.length} reads failed`].join(", ");
  }

  /** No handler ran twice, none that was told not to have run did, and each that was acknowledged did. */
  async expectTruth(): Promise<void> {
    const lines = (await readFile(this.journal, "utf8")).trimEnd().split("\n");
    const ran = new Set(lines);
    expect(lines.filter((id, at) => lines.indexOf(id) !== at), "writes that ran twice").toEqual([]);
    expect([...this.applied].filter((id) => !ran.has(id)), "acknowledged writes that did not run").toEqual([]);
    expect([...this.refused].filter(([id]) => ran.has(id)), "writes that ran, told not to have").toEqual([]);
  }

  private async look(client: Client, slice: string): Promise<void> {
    try {
      await client.call({ slice, method: "look", input: {}, effect: "read", timeoutMs: TIMEOUT_MS });
    } catch (error) {
      this.failedReads.push(describe(error));
    }
  }

  private async mark(client: Client, slice: string, id: string): Promise<void> {
    try {
      await client.call({ slice, method: "mark", input: { id }, effect: "write", timeoutMs: TIMEOUT_MS });
      this.applied.add(id);
    } catch (error) {
      // Of a handler that failed the cluster knows that it ran, and not what it did.
      const { outcome, details } = toAetherError(error);
      if (outcome === "unknown" || details["class"] === "handler") this.unknown.set(id, describe(error));
      else this.refused.set(id, describe(error));
    }
  }
}

function describe(error: unknown): string {
  const { code, outcome, message, details } = toAetherError(error);
  return `${code} (${outcome}, ${String(details["class"])}): ${message}`;
}

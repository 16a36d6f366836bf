// Owns: Aether as this benchmark uses it: one or two node processes with fsync and default configuration, slices on
// them, calls that a slice makes, and how long instances take to come up.
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { ALLOCATOR_VARIABLES } from "../../../dist/cli/node-process.js";
import { createProcessIo } from "../../../dist/cli/process-io.js";
import { runCli } from "../../../dist/cli/program.js";
import { connect } from "../../../dist/client/connect.js";
import { NodeFleet } from "../../support/node-fleet.ts";
import type { LoopOptions, LoopResult } from "../closed-loop.ts";

const SLICES = fileURLToPath(new URL("./slices/", import.meta.url));
const DRIVE_GRACE_MS = 30_000;
const ACTIVE_MS_MAX = 180_000;
const POLL_MS = 50;
/** The least that a blueprint may ask for. */
const HEAP_BYTES = 16_777_216;

interface SliceStatus {
  readonly active: number;
  readonly instances: readonly unknown[];
}

export class AetherNodes {
  private readonly fleet: NodeFleet;

  private constructor(fleet: NodeFleet) {
    this.fleet = fleet;
  }

  /** Each node has a label `at` with its name. */
  static async start(...names: readonly string[]): Promise<AetherNodes> {
    const launchOf = () => ({ variables: ALLOCATOR_VARIABLES });
    const fleet = await NodeFleet.create({ names, cluster: "bench", launchOf });
    const nodes = new AetherNodes(fleet);
    try {
      const started = await Promise.all(names.map((at) => fleet.launch(at, { labels: { at } })));
      await Promise.all(started.map((node) => node.ready()));
      return nodes;
    } catch (error) {
      await nodes.close();
      throw error;
    }
  }

  async push(...slices: readonly string[]): Promise<void> {
    const io = { ...createProcessIo(), print: () => undefined, report: () => undefined };
    for (const slice of slices) await runCli(["--api", this.api, "slice", "push", `${SLICES}${slice}`], io);
  }

  async apply(slices: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Promise<void> {
    await this.send("PUT", "/v1/blueprints/bench", { slices });
  }

  /** Until so many instances of a slice are ACTIVE, and there are no others. */
  async waitFor(slice: string, count: number): Promise<void> {
    const untilMs = performance.now() + ACTIVE_MS_MAX;
    for (;;) {
      const status = (await this.send("GET", "/v1/blueprints/bench/status")) as { slices: Record<string, SliceStatus> };
      const found = status.slices[slice];
      if (found?.active === count && found.instances.length === count) return;
      if (performance.now() > untilMs) throw new RangeError(`not ${count} of ${slice}: ${JSON.stringify(found)}`);
      await sleep(POLL_MS);
    }
  }

  /** Calls of the slice `driver` to one beside it, or to one on the other node. */
  async drive(target: "near" | "far", text: string, loop: LoopOptions): Promise<LoopResult> {
    const deadlineMs = loop.warmUpMs + loop.measureMs + DRIVE_GRACE_MS;
    return (await this.send("POST", "/v1/call/driver/drive", { target, text, ...loop }, deadlineMs)) as LoopResult;
  }

  /**
   * Milliseconds from a row LOAD to the same row ACTIVE, as a watcher sees them, for one more instance of a slice
   * that has `count`; and then one less again.
   */
  async coldStart(slice: string, count: number): Promise<number> {
    const client = connect({ nodes: [this.api], discovery: "off" });
    const seenMs = new Map<string, number>();
    const watch = await client.kv.watch("slices/", {
      onChanges: ({ changes }) => {
        for (const change of changes) {
          const state = change.kind === "put" ? (change.entry.value as { state: string }).state : "gone";
          if (!seenMs.has(state)) seenMs.set(state, performance.now());
        }
      },
      onEnd: () => undefined,
    });
    try {
      await this.send("POST", `/v1/slices/${slice}/scale`, { instances: count + 1 });
      await this.waitFor(slice, count + 1);
      const [loadMs, activeMs] = [seenMs.get("LOAD"), seenMs.get("ACTIVE")];
      if (loadMs === undefined || activeMs === undefined) throw new RangeError("no instance was started");
      return activeMs - loadMs;
    } finally {
      watch.cancel();
      client.close();
      await this.send("POST", `/v1/slices/${slice}/scale`, { instances: count });
      await this.waitFor(slice, count);
    }
  }

  /** Seconds from the request for so many instances of a slice until all are ACTIVE. */
  async startMany(slice: string, count: number): Promise<number> {
    const startMs = performance.now();
    await this.apply({ [slice]: { artifact: `bench:${slice}@^1.0.0`, instances: count, heapBytesMax: HEAP_BYTES } });
    await this.waitFor(slice, count);
    return (performance.now() - startMs) / 1_000;
  }

  async close(): Promise<void> {
    await this.fleet.close();
  }

  private get api(): string {
    return this.fleet.api(this.fleet.names[0] ?? "");
  }

  private async send(method: string, path: string, body?: unknown, deadlineMs?: number): Promise<unknown> {
    const response = await fetch(`${this.api}${path}`, {
      method,
      headers: {
        "content-type": "application/json",
        ...(deadlineMs === undefined ? {} : { "x-deadline-ms": String(deadlineMs) }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new RangeError(`${method} ${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }
}

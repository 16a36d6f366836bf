// Owns: which fault when: every kind once in a random order, then at random; sometimes two at a time; and how long the
// cluster needs to be whole again.
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../src/base/random.ts";
import { ask, eventually } from "../support/node-fleet.ts";
import { createFault, drawCompanion, type FaultKind, type FaultPorts } from "./faults.ts";

/** A cluster that is not whole so long after the last fault was undone is stuck. */
const RECOVERY_MS_MAX = 60_000;
const COMPANION_CHANCE = 0.35;

export interface NemesisPace {
  readonly faultMsMin: number;
  readonly faultMsSpan: number;
  readonly restMs: number;
}

export interface FaultRecord {
  readonly text: string;
  readonly kinds: readonly FaultKind[];
  readonly fromMs: number;
  readonly untilMs: number;
  /** When every node was ready again. */
  readonly wholeMs: number;
}

export class Nemesis {
  readonly records: FaultRecord[] = [];
  private readonly ports: FaultPorts;
  private readonly kinds: readonly FaultKind[];
  private readonly pace: NemesisPace;
  private readonly random: Random;
  private due: FaultKind[] = [];

  constructor(ports: FaultPorts, kinds: readonly FaultKind[], pace: NemesisPace, random: Random) {
    this.ports = ports;
    this.kinds = kinds;
    this.pace = pace;
    this.random = random;
  }

  async run(untilMs: number, say: (record: FaultRecord) => void): Promise<void> {
    while (performance.now() < untilMs) {
      await sleep(this.pace.restMs * (0.5 + this.random.next()));
      const record = await this.strike();
      this.records.push(record);
      say(record);
    }
  }

  private async strike(): Promise<FaultRecord> {
    const kind = this.nextKind();
    const companion = this.random.next() < COMPANION_CHANCE ? drawCompanion(kind, this.random) : undefined;
    const kinds = companion === undefined ? [kind] : [kind, companion];
    const faults = kinds.map((each) => createFault(each, this.ports, this.random));
    const fromMs = performance.now();
    for (const fault of faults) await fault.begin();
    await sleep(this.pace.faultMsMin + this.random.next() * this.pace.faultMsSpan);
    for (const fault of faults) await fault.end();
    const untilMs = performance.now();
    await this.untilWhole();
    return { text: faults.map(({ text }) => text).join(" + "), kinds, fromMs, untilMs, wholeMs: performance.now() };
  }

  /** Those that are due first, so that a short run has seen as many kinds as it could. */
  private nextKind(): FaultKind {
    if (this.due.length === 0) {
      this.due = this.kinds
        .map((kind) => ({ kind, order: this.random.next() }))
        .sort((a, b) => a.order - b.order)
        .map(({ kind }) => kind);
    }
    const kind = this.due.pop();
    if (kind === undefined) throw new RangeError("no faults to choose from");
    return kind;
  }

  private async untilWhole(): Promise<void> {
    await Promise.all(this.ports.fleet.names.map((node) => {
      const api = this.ports.fleet.api(node);
      return eventually(`${node} is ready again`, async () => {
        return (await ask(`${api}/readyz`)).status === 200 ? true : undefined;
      }, RECOVERY_MS_MAX);
    }));
  }
}

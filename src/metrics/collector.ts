// Owns: making a node's report of its last second out of what its parts say of themselves.
// Does not own: counting calls (call-tallies.ts), sending (metrics-service.ts).
import { SECOND_MS } from "../base/units.ts";
import type { ProcessMeter } from "../env/process-meter.ts";
import type { InstanceLoad } from "../slices/core/instance-load.ts";
import type { CallTallies } from "./call-tallies.ts";
import { type FactName, type Facts, FACT_NAMES, NODE_FACTS } from "./core/facts.ts";
import {
  type InstanceReport, type NodeReport, REPORT_INSTANCES_MAX, REPORT_METHODS_MAX,
} from "./core/report.ts";

/** Says some facts of the node: levels as they are now, rates as totals since the start. */
export type FactSource = () => Facts;

export interface CollectorSources {
  readonly process: ProcessMeter;
  readonly made: CallTallies;
  readonly handled: CallTallies;
  instances(): readonly InstanceLoad[];
  readonly facts: readonly FactSource[];
}

export class Collector {
  private readonly sources: CollectorSources;
  private seq = 0;
  private takenMs: number;
  private totals: Facts;
  /** Of the workers, when the last report was made. */
  private busyMs: ReadonlyMap<string, number> = new Map();

  constructor(sources: CollectorSources, nowMs: number) {
    this.sources = sources;
    this.takenMs = nowMs;
    this.totals = this.readFacts();
  }

  /** What happened since the last report. */
  take(nowMs: number): NodeReport {
    const intervalMs = Math.max(1, nowMs - this.takenMs);
    const instances = this.readInstances(intervalMs);
    const read = { ...this.readFacts(), ...instanceFacts(instances) };
    const facts = ratesOf(read, this.totals, intervalMs);
    this.totals = read;
    this.takenMs = nowMs;
    const made = this.sources.made.take();
    const handled = this.sources.handled.take();
    const methods = [...made.methods, ...handled.methods].sort((a, b) => b.calls - a.calls);
    const told = { methods: methods.slice(0, REPORT_METHODS_MAX), instances: instances.slice(0, REPORT_INSTANCES_MAX) };
    const cut = lengthDifference(methods, told.methods) + lengthDifference(instances, told.instances);
    return { seq: this.seq++, intervalMs, facts, ...told, left: cut + made.left + handled.left };
  }

  private readInstances(intervalMs: number): readonly InstanceReport[] {
    const loads = this.sources.instances();
    const before = this.busyMs;
    this.busyMs = new Map(loads.flatMap(({ instance, loopBusyMs }) =>
      loopBusyMs === undefined ? [] : [[instance, loopBusyMs]]));
    return loads.map(({ loopBusyMs, ...rest }) => {
      const grownMs = (loopBusyMs ?? 0) - (before.get(rest.instance) ?? 0);
      // A worker that was not there before may have been busy for longer than the interval.
      const loopUtilization = loopBusyMs === undefined ? undefined : Math.min(1, Math.max(0, grownMs / intervalMs));
      return { ...rest, loopUtilization };
    });
  }

  private readFacts(): Facts {
    const { process, made, facts } = this.sources;
    const { cpuMs, loopBusyMs, loopDelayMsMax, heapUsedBytes, rssBytes, disk } = process.read();
    const { calls, errors, refused } = made.totals;
    return Object.assign(
      // Of a millisecond that passes, so much was used: cores.
      { cpuCores: cpuMs / SECOND_MS, loopUtilization: loopBusyMs / SECOND_MS },
      { loopDelayMsMax, heapUsedBytes, rssBytes },
      disk && { diskFreeBytes: disk.freeBytes, diskTotalBytes: disk.totalBytes },
      { callsPerSecond: calls, callErrorsPerSecond: errors, callsRefusedPerSecond: refused },
      ...facts.map((read) => read()),
    ) as Facts;
  }
}

function instanceFacts(instances: readonly InstanceReport[]): Facts {
  return {
    instances: instances.length,
    callsInFlight: instances.reduce((sum, { inFlight }) => sum + inFlight, 0),
    callsQueued: instances.reduce((sum, { queued }) => sum + queued, 0),
  };
}

/** Totals become what they have grown by in a second. One that fell has begun anew: that much and no less was added. */
function ratesOf(read: Facts, before: Facts, intervalMs: number): Facts {
  const facts: Partial<Record<FactName, number>> = {};
  for (const name of FACT_NAMES) {
    const value = read[name];
    if (value === undefined) continue;
    const grown = value - (before[name] ?? 0);
    facts[name] = NODE_FACTS[name].kind === "level" ? value : ((grown < 0 ? value : grown) * SECOND_MS) / intervalMs;
  }
  return facts;
}

function lengthDifference(whole: readonly unknown[], part: readonly unknown[]): number {
  return whole.length - part.length;
}

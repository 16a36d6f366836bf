// Owns: the work that metrics make for a node in one second, without its network: processor time of this process.
import { parseNodeId } from "../../../src/base/ids.ts";
import { CallTallies } from "../../../src/metrics/call-tallies.ts";
import { Collector } from "../../../src/metrics/collector.ts";
import { readMetrics } from "../../../src/metrics/core/metrics-wire.ts";
import { encodeReport, type HeardReport, parseReport } from "../../../src/metrics/core/report.ts";
import { aggregate, encodeSnapshot, parseSnapshot } from "../../../src/metrics/core/snapshot.ts";
import { MetricsStore } from "../../../src/metrics/metrics-store.ts";
import { createProcessMeter } from "../../../src/metrics/process-meter-adapter.ts";
import { median } from "../statistics.ts";

export interface SecondSize {
  readonly nodes: number;
  /** Called on each node, every second, made and handled there. */
  readonly methods: number;
}

export interface SecondCost {
  /** Making and encoding a report. */
  readonly reportMs: number;
  /** On the leader: reading the reports of the others, and making and encoding the snapshot. */
  readonly leadMs: number;
  /** Reading a snapshot and keeping its series. */
  readonly keepMs: number;
}

const SECONDS = 300;
const US_PER_MS = 1_000;
const CALLS_PER_METHOD = 20;

export function secondOfMetrics({ nodes, methods }: SecondSize): SecondCost {
  const names = Array.from({ length: nodes }, (_, at) => parseNodeId(`n${at + 1}`));
  let nowMs = 0;
  const clock = { nowMs: () => nowMs, wallMs: () => nowMs };
  const store = new MetricsStore(clock);
  const [made, handled] = [new CallTallies("made"), new CallTallies("handled")];
  const collector = new Collector({
    process: createProcessMeter("."), made, handled, instances: () => [], facts: [],
  }, nowMs);
  const times: { readonly report: number[]; readonly lead: number[]; readonly keep: number[] } =
    { report: [], lead: [], keep: [] };
  for (let second = 0; second < SECONDS; second++) {
    nowMs += 1_000;
    for (let at = 0; at < methods * CALLS_PER_METHOD; at++) {
      for (const tally of [made, handled]) tally.note("slice", `method${at % methods}`, "ok", 1 + (at % 97) / 7);
    }
    const report = timed(times.report, () => encodeReport(collector.take(nowMs)));
    const snapshot = timed(times.lead, () => {
      const reports = names.map((node): HeardReport => {
        const parsed = parseReport(readMetrics(report)?.fields ?? []);
        if (parsed === undefined) throw new RangeError("a report of this build is readable");
        return { node, report: parsed, atMs: nowMs };
      });
      const byNode = new Map(reports.map((heard) => [heard.node, heard]));
      const [leader = parseNodeId("n1")] = names;
      const aggregated = aggregate({ leader, epoch: 1, seq: second, nowMs, nodes: names, reports: byNode });
      return encodeSnapshot(aggregated, { alerts: [], said: [], notices: [] });
    });
    timed(times.keep, () => {
      const parsed = parseSnapshot(readMetrics(snapshot)?.fields ?? []);
      if (parsed === undefined) throw new RangeError("a snapshot of this build is readable");
      store.keep(parsed);
    });
  }
  // The first seconds are those of a process that has just begun.
  const usual = (all: readonly number[]): number => median(all.slice(SECONDS / 3));
  return { reportMs: usual(times.report), leadMs: usual(times.lead), keepMs: usual(times.keep) };
}

function timed<T>(times: number[], work: () => T): T {
  const before = process.cpuUsage();
  const result = work();
  const { user, system } = process.cpuUsage(before);
  times.push((user + system) / US_PER_MS);
  return result;
}

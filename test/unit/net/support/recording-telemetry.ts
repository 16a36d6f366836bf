// Owns: telemetry that tests can read: counted values by name and labels, and log lines.
import type { Log, LogFields, MetricSpec, Telemetry } from "../../../../src/env/telemetry.ts";
import { LogLevels } from "../../../../src/base/log-levels.ts";
import { NO_TRACING } from "../../../../src/testkit/sim/sim-telemetry.ts";

export type Level = "error" | "warn" | "info" | "debug";
export type Line = LogFields & { readonly level: Level };

export interface RecordingTelemetry extends Telemetry {
  readonly lines: readonly Line[];
  /** Sum over all series of a counter whose labels include `labels`. */
  count(name: string, labels?: Readonly<Record<string, string>>): number;
  /** Resolves once a line with this event is logged, also when it already was. */
  logged(event: string): Promise<Line>;
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export function createRecordingTelemetry(): RecordingTelemetry {
  const lines: Line[] = [];
  const waiters: { readonly event: string; readonly resolve: (line: Line) => void }[] = [];
  const samples: Sample[] = [];
  const say = (level: Level) => (fields: LogFields) => {
    const line: Line = { ...fields, level };
    lines.push(line);
    for (const waiter of waiters) if (waiter.event === line.event) waiter.resolve(line);
  };
  const log: Log = { error: say("error"), warn: say("warn"), info: say("info"), debug: say("debug"), child: () => log };
  const record = ({ name }: MetricSpec) => (value: number, labels: Readonly<Record<string, string>> = {}) => {
    samples.push({ name, labels, value });
  };
  return {
    log,
    lines,
    counter: (spec) => ({ add: record(spec) }),
    gauge: (spec) => ({ set: record(spec) }),
    histogram: (spec) => ({ observe: record(spec) }),
    levels: new LogLevels("info"),
    tracing: NO_TRACING,
    exposition: () => Promise.resolve(""),
    count: (name, labels = {}) => {
      const matching = samples.filter((sample) => sample.name === name && includes(sample.labels, labels));
      return matching.reduce((sum, sample) => sum + sample.value, 0);
    },
    logged: (event) => {
      const before = lines.find((line) => line.event === event);
      if (before !== undefined) return Promise.resolve(before);
      return new Promise((resolve) => waiters.push({ event, resolve }));
    },
  };
}

function includes(all: Readonly<Record<string, string>>, some: Readonly<Record<string, string>>): boolean {
  return Object.entries(some).every(([name, value]) => all[name] === value);
}

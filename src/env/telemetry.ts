// Ports only: no code here.
import type { LogLevels } from "../base/log-levels.ts";
import type { Tracing } from "./tracing.ts";

/** Structured fields of a log line. `event` is a constant of the code; no payloads, no secrets. */
export type LogFields = { readonly event: string } & Readonly<Record<string, unknown>>;

export interface Log {
  /** A human must act. */
  error(fields: LogFields): void;
  /** Degraded, healing itself. */
  warn(fields: LogFields): void;
  info(fields: LogFields): void;
  debug(fields: LogFields): void;
  child(bindings: Readonly<Record<string, unknown>>): Log;
}

export interface Counter {
  add(count: number, labels?: Readonly<Record<string, string>>): void;
}
export interface Gauge {
  set(value: number, labels?: Readonly<Record<string, string>>): void;
}
export interface Histogram {
  observe(value: number, labels?: Readonly<Record<string, string>>): void;
}

/** Declares a metric once; names start with `aether_` and end in their unit. */
export interface MetricSpec {
  readonly name: `aether_${string}`;
  readonly help: string;
  readonly labels?: readonly string[];
  readonly buckets?: readonly number[];
}

export interface Telemetry {
  readonly log: Log;
  /** Which of its lines are written; may be changed while the node runs. */
  readonly levels: LogLevels;
  readonly tracing: Tracing;
  counter(spec: MetricSpec): Counter;
  gauge(spec: MetricSpec): Gauge;
  histogram(spec: MetricSpec): Histogram;
  /** The Prometheus text of everything declared. */
  exposition(): Promise<string>;
}

// Owns: metrics in the Prometheus text format. Values are counted in plain maps and handed to prom-client only when
// somebody scrapes: counting is on every hot path, scraping on none.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import { assert } from "../base/assert.ts";
import type * as port from "../env/telemetry.ts";

export type MetricsPort = Omit<port.Telemetry, "log" | "levels" | "tracing">;
type Labels = Readonly<Record<string, string>>;

/** Label values beyond these are counted together: a mistake in a label must not fill the memory. */
const SERIES_MAX = 1_000;
const OVERFLOW_VALUE = "other";
const PROCESS_PREFIX = "aether_";

export interface PrometheusOptions {
  /** Adds CPU, memory, garbage collection and event loop of this process. */
  readonly processMetrics: "on" | "off";
}

/** Declaring a name again gives the metric that was declared first. */
export function createPrometheusMetrics({ processMetrics }: PrometheusOptions): MetricsPort {
  const registry = new Registry();
  if (processMetrics === "on") collectDefaultMetrics({ register: registry, prefix: PROCESS_PREFIX });
  const counters = new Map<string, port.Counter>();
  const gauges = new Map<string, port.Gauge>();
  const histograms = new Map<string, port.Histogram>();
  return {
    counter: (spec) => once(counters, spec, () => declareCounter(registry, spec)),
    gauge: (spec) => once(gauges, spec, () => declareGauge(registry, spec)),
    histogram: (spec) => once(histograms, spec, () => declareHistogram(registry, spec)),
    exposition: () => registry.metrics(),
  };
}

function once<T>(declared: Map<string, T>, { name }: port.MetricSpec, declare: () => T): T {
  const before = declared.get(name);
  if (before !== undefined) return before;
  const metric = declare();
  declared.set(name, metric);
  return metric;
}

function declareCounter(registry: Registry, spec: port.MetricSpec): port.Counter {
  const series = new SeriesMap(spec.labels ?? []);
  const counter = new Counter({
    ...basics(registry, spec),
    collect: () => {
      counter.reset();
      for (const { labels, value } of series.all()) counter.inc(labels, value);
    },
  });
  return {
    add: (count, labels) => {
      assert(count >= 0, `counter ${spec.name} only grows`);
      series.at(labels).value += count;
    },
  };
}

function declareGauge(registry: Registry, spec: port.MetricSpec): port.Gauge {
  const series = new SeriesMap(spec.labels ?? []);
  const gauge = new Gauge({
    ...basics(registry, spec),
    collect: () => {
      gauge.reset();
      for (const { labels, value } of series.all()) gauge.set(labels, value);
    },
  });
  return {
    set: (value, labels) => {
      series.at(labels).value = value;
    },
  };
}

function declareHistogram(registry: Registry, spec: port.MetricSpec): port.Histogram {
  const buckets = spec.buckets === undefined ? {} : { buckets: [...spec.buckets] };
  const histogram = new Histogram({ ...basics(registry, spec), ...buckets });
  return { observe: (value, labels) => histogram.observe(labels ?? {}, value) };
}

function basics(registry: Registry, { name, help, labels }: port.MetricSpec) {
  return { name, help, labelNames: [...(labels ?? [])], registers: [registry] };
}

interface Series {
  readonly labels: Labels;
  value: number;
}

/** One number per combination of label values. */
class SeriesMap {
  private readonly names: readonly string[];
  private readonly byKey = new Map<string, Series>();

  constructor(names: readonly string[]) {
    this.names = names;
    // A metric without labels is shown from the start, as 0.
    if (names.length === 0) this.at(undefined);
  }

  at(labels: Labels | undefined): Series {
    const key = this.keyOf(labels);
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    return this.byKey.size >= SERIES_MAX ? this.overflow() : this.add(key, (name) => labels?.[name] ?? "");
  }

  all(): Iterable<Series> {
    return this.byKey.values();
  }

  private keyOf(labels: Labels | undefined): string {
    if (labels === undefined) return "";
    let key = "";
    for (const name of this.names) key += `${labels[name] ?? ""}\n`;
    return key;
  }

  private overflow(): Series {
    const key = this.names.map(() => `${OVERFLOW_VALUE}\n`).join("");
    return this.byKey.get(key) ?? this.add(key, () => OVERFLOW_VALUE);
  }

  private add(key: string, valueOf: (name: string) => string): Series {
    const series: Series = { labels: Object.fromEntries(this.names.map((name) => [name, valueOf(name)])), value: 0 };
    this.byKey.set(key, series);
    return series;
  }
}

// Owns: /v1/metrics: what the cluster says of itself, as JSON: now, every second, and of the last two hours; with what
// fires now, so that who follows asks for nothing else.
// Does not own: what is measured (metrics), the Prometheus text of one node (health.ts).
import { z } from "zod";
import type { Alerts } from "../../alerts/alert-service.ts";
import { jsonText } from "../../base/json-text.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Clock, Timer } from "../../env/clock.ts";
import type { ClusterMetrics } from "../../metrics/cluster-metrics.ts";
import { callNumbers, sliceNumbers } from "../../metrics/core/series.ts";
import type { ClusterSnapshot } from "../../metrics/core/snapshot.ts";
import { WINDOW_MS } from "../../metrics/core/window.ts";
import { EventStream } from "../event-stream.ts";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";

/** Series of one request. */
export const HISTORY_SERIES_MAX = 32;

const historyQuery = z.strictObject({
  series: z.string().default("").transform((text) => text.split(",").filter((name) => name !== "")).refine(
    (names) => names.length <= HISTORY_SERIES_MAX, { error: `ask for up to ${HISTORY_SERIES_MAX} series at once` },
  ),
  sinceMs: z.coerce.number().int().min(1_000).max(WINDOW_MS).default(600_000),
});

/** A reader hears at least so often: without a leader that there is no new snapshot. */
const SIGN_OF_LIFE_MS = 5 * SECOND_MS;

export interface MetricsRoutePorts {
  readonly metrics: ClusterMetrics;
  readonly alerts: Alerts;
  readonly clock: Pick<Clock, "setTimer">;
}

export function metricsRoutes(ports: MetricsRoutePorts, closing: AbortSignal): readonly Route[] {
  const { metrics } = ports;
  const texts = new SnapshotTexts(ports);
  return [
    {
      method: "GET",
      path: "/v1/metrics",
      summary: "The cluster's newest second as this node has it: facts of the cluster and of each node, slices, " +
        "instances, methods; null before the first one. A node that does not report is stale, and in no sum. With " +
        "the alerts that fire",
      answer: "{ snapshot: { leader, epoch, seq, ageMs, isStale, cluster, nodes, slices, instances, methods, left } " +
        "| null, alerts: [{ id, alert, severity, state, subject, value, sinceMs, text, action }] }",
      handle: () => jsonResponse(200, newestJson(ports)),
    },
    {
      method: "GET",
      path: "/v1/metrics/stream",
      summary: "The same as server-sent events, one per second, and every 5 s one that is stale while none comes; a " +
        "reader that is slow misses some. What fires on this node itself, or is over, is told at once",
      answer: "text/event-stream: snapshot as above; error",
      handle: () => new SnapshotStream({ ...ports, texts }, closing).open(),
    },
    {
      method: "GET",
      path: "/v1/metrics/history",
      summary: `Values of series over the last sinceMs (default 600000, up to ${WINDOW_MS}), names parted by commas; ` +
        "without a name the names that there are. Seconds for ten minutes, then one value per ten seconds",
      query: historyQuery,
      answer: "{ series: [{ name, points: [[atMs, value]] }] } or { names }",
      handle: (request) => {
        const { series, sinceMs } = request.query(historyQuery);
        if (series.length === 0) return jsonResponse(200, { names: metrics.seriesNames() });
        return jsonResponse(200, {
          series: series.map((name) => ({
            name, points: metrics.history(name, sinceMs).map(({ atMs, value }) => [Math.round(atMs), value]),
          })),
        });
      },
    },
  ];
}

function newestJson({ metrics, alerts }: Pick<MetricsRoutePorts, "metrics" | "alerts">): object {
  return { snapshot: snapshotJson(metrics), alerts: alerts.list({ state: "firing" }).alerts };
}

/** Undefined numbers become null: a reader sees that there is such a number, and that it is not known. */
function snapshotJson(metrics: ClusterMetrics): unknown {
  const kept = metrics.latest();
  if (kept === undefined) return null;
  const { snapshot, cluster, ageMs, isStale } = kept;
  const { leader, epoch, seq, nodes, instances, methods, left } = snapshot;
  return {
    leader,
    epoch,
    seq,
    ageMs: Math.round(ageMs),
    isStale,
    cluster,
    nodes: nodes.map(({ ageMs: age, ...rest }) => ({ ...rest, ageMs: age === undefined ? null : Math.round(age) })),
    slices: [...sliceNumbers(snapshot)].map(([slice, numbers]) => ({ slice, ...known(numbers) })),
    instances: instances.map(known),
    methods: methods.map((one) => ({
      slice: one.slice,
      method: one.method,
      direction: one.direction,
      ...known(callNumbers(one)),
      durations: one.durations.buckets().map(({ upToMs, count }) => [upToMs, count]),
    })),
    left,
  };
}

function known(numbers: object): object {
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, (value as unknown) ?? null]));
}

/** The newest snapshot as text, made once for all its readers; one that is stale anew: its age and the alerts go on. */
class SnapshotTexts {
  private readonly ports: Pick<MetricsRoutePorts, "metrics" | "alerts">;
  private of: ClusterSnapshot | undefined;
  private text = "";

  constructor(ports: Pick<MetricsRoutePorts, "metrics" | "alerts">) {
    this.ports = ports;
    ports.alerts.onOwnChange(() => (this.of = undefined));
  }

  newest(): string {
    const kept = this.ports.metrics.latest();
    if (kept === undefined || kept.isStale || kept.snapshot !== this.of) {
      this.of = kept?.snapshot;
      this.text = jsonText(newestJson(this.ports));
    }
    return this.text;
  }
}

interface StreamPorts extends MetricsRoutePorts {
  readonly texts: SnapshotTexts;
}

class SnapshotStream {
  private readonly ports: StreamPorts;
  private readonly stream: EventStream;
  private stops: readonly (() => void)[] = [];
  private signOfLife: Timer | undefined;

  constructor(ports: StreamPorts, closing: AbortSignal) {
    this.ports = ports;
    const elsewhere = "read from another one";
    this.stream = new EventStream({ closing, elsewhere, onGone: () => this.release() });
  }

  open(): Response {
    const { metrics, alerts } = this.ports;
    this.stops = [metrics.onSnapshot(() => this.send()), alerts.onOwnChange(() => this.send())];
    this.send();
    return this.stream.open();
  }

  private send(): void {
    if (!this.stream.isFull) this.stream.send([{ event: "snapshot", data: this.ports.texts.newest() }]);
    this.signOfLife?.cancel();
    this.signOfLife = this.ports.clock.setTimer(SIGN_OF_LIFE_MS, () => this.send());
  }

  private release(): void {
    this.signOfLife?.cancel();
    for (const stop of this.stops) stop();
  }
}

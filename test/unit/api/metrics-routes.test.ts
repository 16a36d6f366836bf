// Owns: /v1/metrics as clients see it, over a real server and what a node keeps.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AlertView } from "../../../src/alerts/core/alert-view.ts";
import { parseNodeId } from "../../../src/base/ids.ts";
import { Histogram } from "../../../src/base/histogram.ts";
import type { ClusterSnapshot } from "../../../src/metrics/core/snapshot.ts";
import { openApi, type ApiFixture } from "./api-fixture.ts";

const n1 = parseNodeId("n1");
const n2 = parseNodeId("n2");
let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  await api.close();
});

const OF_NODE: AlertView = {
  id: "no-leader/node/n1/5", alert: "no-leader", severity: "error", state: "firing", subject: "node/n1",
  value: 1, sinceMs: 5, text: "nobody leads", action: "look at the nodes",
};

function snapshotOf(seq: number): ClusterSnapshot {
  const durations = new Histogram();
  for (let call = 0; call < 100; call++) durations.add(call < 99 ? 10 : 1_000);
  return {
    leader: n1,
    epoch: 3,
    seq,
    nodes: [
      { node: n1, ageMs: 12, isStale: false, facts: { rssBytes: 100, cpuCores: 0.5 } },
      { node: n2, ageMs: undefined, isStale: true, facts: { rssBytes: 900 } },
    ],
    instances: [{
      node: n1, instance: "demo:shop:1.0.0/0", slice: "shop", loopUtilization: undefined, heapUsedBytes: 5,
      heapBytesMax: 10, inFlight: 1, queued: 2,
    }],
    methods: [{
      slice: "shop", method: "buy", direction: "handled", callsPerSecond: 100, errorsPerSecond: 1, durations,
    }],
    left: 0,
  };
}

async function json(path: string): Promise<unknown> {
  return (await fetch(`${api.url}${path}`)).json();
}

test("before the first second there is no snapshot, and no series", async () => {
  expect(await json("/v1/metrics")).toEqual({ snapshot: null, alerts: [] });
  expect(await json("/v1/metrics/history")).toEqual({ names: [] });
});

test("a snapshot is told with stale nodes, slices, instances and methods; what is not known is null", async () => {
  api.metrics.keep(snapshotOf(7));
  expect(await json("/v1/metrics")).toMatchObject({
    snapshot: {
      leader: "n1", epoch: 3, seq: 7, isStale: false,
      cluster: { rssBytes: 100, cpuCores: 0.5 },
      nodes: [{ node: "n1", isStale: false, ageMs: 12 }, { node: "n2", isStale: true, ageMs: null }],
      slices: [{ slice: "shop", instances: 1, inFlight: 1, queued: 2, callsPerSecond: 100, loopUtilizationMean: null }],
      instances: [{ instance: "demo:shop:1.0.0/0", loopUtilization: null, heapUsedBytes: 5 }],
      methods: [{ slice: "shop", method: "buy", direction: "handled", errorsPerSecond: 1 }],
    },
  });
});

test("series are told with their points, and a name that is not known with none", async () => {
  api.metrics.keep(snapshotOf(1));
  const asked = "node/n1/rssBytes,method/shop/buy/handled/p50Ms,nothing";
  const { series } = (await json(`/v1/metrics/history?series=${asked}`)) as {
    readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[];
  };
  expect(series.map(({ name, points }) => [name, points.length])).toEqual(
    [["node/n1/rssBytes", 1], ["method/shop/buy/handled/p50Ms", 1], ["nothing", 0]],
  );
  expect(series[0]?.points[0]?.[1]).toBe(100);
  expect(series[1]?.points[0]?.[1]).toBeCloseTo(10, 0);
  const names = (await json("/v1/metrics/history")) as { readonly names: readonly string[] };
  expect(names.names).toContain("cluster/rssBytes");
  expect(names.names).not.toContain("node/n2/rssBytes");
});

test.each(["sinceMs=1", "sinceMs=99999999", "sinceMs=soon", "since=1", `series=${"a,".repeat(33)}`])(
  "a question for history with %s is refused",
  async (query) => {
    const response = await fetch(`${api.url}/v1/metrics/history?${query}`);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: "E_INVALID" } });
  },
);

test("what fires stands beside the snapshot, also while nobody leads", async () => {
  api.alerts.push(OF_NODE);
  expect(await json("/v1/metrics")).toEqual({ snapshot: null, alerts: [OF_NODE] });
  expect(await firstOfStream()).toEqual({ snapshot: null, alerts: [OF_NODE] });
  api.alerts.pop();
  expect(await firstOfStream()).toEqual({ snapshot: null, alerts: [] });
});

test("a snapshot that nothing follows is told with the age that it has by then", async () => {
  let nowMs = 0;
  await api.close();
  api = await openApi("n1", undefined, { metricsClock: { nowMs: () => nowMs, wallMs: () => nowMs } });
  api.metrics.keep(snapshotOf(1));
  for (nowMs of [0, 10_000, 60_000]) {
    expect(await firstOfStream()).toMatchObject({ snapshot: { seq: 1, ageMs: nowMs, isStale: nowMs > 0 } });
  }
});

async function firstOfStream(): Promise<unknown> {
  const leaving = new AbortController();
  const response = await fetch(`${api.url}/v1/metrics/stream`, { signal: leaving.signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("\n\n")) text += (await reader?.read())?.value ?? "";
  leaving.abort();
  return JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? "null");
}

test("a stream begins with the newest snapshot has each one that follows, and what fires here at once", async () => {
  api.metrics.keep(snapshotOf(1));
  const leaving = new AbortController();
  const response = await fetch(`${api.url}/v1/metrics/stream`, { signal: leaving.signal });
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const until = async (part: string): Promise<void> => {
    while (!text.includes(part)) text += (await reader?.read())?.value ?? "";
  };
  await until('"seq":1,');
  api.metrics.keep(snapshotOf(2));
  api.metrics.tell();
  await until('"seq":2,');
  api.alerts.push(OF_NODE);
  api.tellAlerts();
  await until('"alert":"no-leader"');
  expect(text.match(/event: snapshot\n/g)).toHaveLength(3);
  leaving.abort();
});

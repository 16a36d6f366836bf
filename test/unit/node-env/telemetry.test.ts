import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { createPrometheusMetrics } from "../../../src/metrics/prometheus-adapter.ts";
import { createJsonLog, type LogLevel } from "../../../src/node/env-log-adapter.ts";

describe("the log", () => {
  const linesOf = (level: LogLevel): { lines: string[]; log: ReturnType<typeof createJsonLog> } => {
    const lines: string[] = [];
    return { lines, log: createJsonLog({ node: parseNodeId("n1"), level, write: (line) => lines.push(line) }) };
  };

  test("writes one JSON object per line with level, node, event and the fields given", () => {
    const { lines, log } = linesOf("info");
    log.child({ area: "net" }).warn({ event: "net.peer-down", peer: "n2" });
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "warn", node: "n1", area: "net", event: "net.peer-down", peer: "n2",
    });
  });

  test("shows an error's message and stack, and nothing below its level", () => {
    const { lines, log } = linesOf("warn");
    log.info({ event: "quiet" });
    log.error({ event: "loud", error: new TypeError("broken") });
    const error = { type: "TypeError", message: "broken" };
    expect(JSON.parse(lines.join(""))).toMatchObject({ event: "loud", error });
  });
});

describe("metrics", () => {
  test("are exposed with help, labels and the latest values", async () => {
    const metrics = createPrometheusMetrics({ processMetrics: "off" });
    const frames = metrics.counter({ name: "aether_frames_total", help: "Frames.", labels: ["direction"] });
    frames.add(2, { direction: "sent" });
    frames.add(3, { direction: "sent" });
    frames.add(1, { direction: "received" });
    metrics.gauge({ name: "aether_peers_connected", help: "Peers." }).set(2);
    metrics.histogram({ name: "aether_wait_seconds", help: "Wait.", buckets: [1, 2] }).observe(1.5);
    const text = await metrics.exposition();
    expect(text).toContain("# HELP aether_frames_total Frames.");
    expect(text).toContain('aether_frames_total{direction="sent"} 5');
    expect(text).toContain('aether_frames_total{direction="received"} 1');
    expect(text).toContain("aether_peers_connected 2");
    expect(text).toContain('aether_wait_seconds_bucket{le="2"} 1');
    expect(await metrics.exposition()).toContain('aether_frames_total{direction="sent"} 5');
  });

  test("without labels are shown as 0 before they are counted", async () => {
    const metrics = createPrometheusMetrics({ processMetrics: "off" });
    metrics.counter({ name: "aether_calls_total", help: "Calls." });
    expect(await metrics.exposition()).toContain("aether_calls_total 0");
  });

  test("declared twice are one metric", async () => {
    const metrics = createPrometheusMetrics({ processMetrics: "off" });
    for (let i = 0; i < 2; i += 1) metrics.counter({ name: "aether_calls_total", help: "Calls." }).add(1);
    expect(await metrics.exposition()).toContain("aether_calls_total 2");
  });

  test("count label values beyond a thousand together", async () => {
    const metrics = createPrometheusMetrics({ processMetrics: "off" });
    const calls = metrics.counter({ name: "aether_calls_total", help: "Calls.", labels: ["user"] });
    for (let user = 0; user < 1_010; user += 1) calls.add(1, { user: String(user) });
    expect(await metrics.exposition()).toContain('aether_calls_total{user="other"} 10');
  });

  test("of the process carry the prefix of all metrics", async () => {
    const metrics = createPrometheusMetrics({ processMetrics: "on" });
    const names = [...(await metrics.exposition()).matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name ?? "");
    expect(names).toContain("aether_process_resident_memory_bytes");
    expect(names.filter((name) => !name.startsWith("aether_"))).toEqual([]);
  });
});

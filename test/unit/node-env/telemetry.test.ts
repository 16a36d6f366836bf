import { describe, expect, test } from "vitest";
import { parseNodeId } from "../../../src/base/ids.ts";
import { LOG_AREAS, LogLevels, type LogLevel } from "../../../src/base/log-levels.ts";
import { readProject } from "../../tidy/project.ts";
import { createPrometheusMetrics } from "../../../src/metrics/prometheus-adapter.ts";
import { createJsonLog } from "../../../src/node/env-log-adapter.ts";

interface Written {
  readonly lines: string[];
  readonly levels: LogLevels;
  readonly log: ReturnType<typeof createJsonLog>;
}

describe("the log", () => {
  const linesOf = (level: LogLevel): Written => {
    const lines: string[] = [];
    const levels = new LogLevels(level);
    const log = createJsonLog({ node: parseNodeId("n1"), levels, write: (line) => lines.push(line) });
    return { lines, levels, log };
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

describe("levels of the log", () => {
  test("one of an area counts for its events, at once and also for loggers that were made before", () => {
    const lines: string[] = [];
    const levels = new LogLevels("info");
    const log = createJsonLog({ node: parseNodeId("n1"), levels, write: (line) => lines.push(line) });
    const child = log.child({ job: "j1" });
    child.debug({ event: "jobs.before" });
    levels.set("debug", "jobs");
    levels.set("silent", "net");
    child.debug({ event: "jobs.seen" });
    child.debug({ event: "kv.unseen" });
    log.error({ event: "net.unseen" });
    levels.reset("jobs");
    child.debug({ event: "jobs.after" });
    expect(lines.map((line) => (JSON.parse(line) as { readonly event: string }).event)).toEqual(["jobs.seen"]);
    expect(levels.view()).toEqual({ everywhere: "info", areas: { net: "silent" } });
  });

  test("the one of all others is changed alike", () => {
    const levels = new LogLevels("silent");
    expect(levels.allows("node.failed", "error")).toBe(false);
    levels.set("warn");
    expect(["error", "warn", "info"].map((severity) => levels.allows("node.x", severity as "error"))).toEqual(
      [true, true, false]);
  });

  test("an area that is none is refused with those that are", () => {
    expect(() => new LogLevels("info").set("debug", "job")).toThrow(/"job" is no area of the log.*jobs/);
  });

  test("every event of the sources belongs to an area", () => {
    const events = readProject().filter(({ path }) => path.startsWith("src/")).flatMap(({ text }) =>
      [...text.matchAll(/(?:event: |log\.\w+\(\{ event: )["`]([a-z]+)\./g)].map(([, area = ""]) => area));
    expect(events.length).toBeGreaterThan(50);
    expect([...new Set(events)].filter((area) => !(LOG_AREAS as readonly string[]).includes(area))).toEqual([]);
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

// Owns: the picture of a chaos run: how long operations took, moment by moment, and which fault was on.
import type { ChaosResult } from "./report.ts";

const WIDTH = 960;
const LEFT = 60;
const RIGHT = 12;
const TOP = 40;
const PLOT_HEIGHT = 260;
const BUCKET_MS = 200;
const DECADES = 4;
const MS_MIN = 0.5;
const LABEL_HEIGHT = 13;
const LABEL_CHARACTER_WIDTH = 5.6;
const STYLE = `<style>
text{font:11px system-ui,sans-serif;fill:#24292f}.quiet{fill:#57606a}.title{font-weight:600;font-size:14px}
.line{stroke:#d0d7de}.fault{fill:#cf222e;fill-opacity:.16}.late{fill:#bf8700;fill-opacity:.10}
.middle{fill:none;stroke:#2f6feb;stroke-width:1.5}.slowest{fill:#57606a}.lost{fill:#cf222e}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.quiet{fill:#9198a1}.line{stroke:#3d444d}.fault{fill:#ff7b72;fill-opacity:.25}
.late{fill:#e3b341;fill-opacity:.14}.middle{stroke:#5b95ff}.slowest{fill:#9198a1}.lost{fill:#ff7b72}
}
</style>`;

interface Bucket {
  readonly latencies: number[];
  failures: number;
}

export function renderLatency({ history, faults, durationMs, seed }: ChaosResult): string {
  const x = (ms: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * (ms - history.startedMs)) / durationMs;
  const y = (ms: number): number =>
    TOP + PLOT_HEIGHT - (PLOT_HEIGHT * Math.log10(Math.max(ms, MS_MIN) / MS_MIN)) / DECADES;
  const buckets = new Map<number, Bucket>();
  for (const { startedMs, endedMs, outcome } of history.samples) {
    const at = Math.floor((endedMs - history.startedMs) / BUCKET_MS);
    const bucket = buckets.get(at) ?? { latencies: [], failures: 0 };
    if (outcome === "ok") bucket.latencies.push(endedMs - startedMs);
    else bucket.failures += 1;
    buckets.set(at, bucket);
  }
  const centre = (at: number): number => x(history.startedMs + (at + 0.5) * BUCKET_MS);
  const parts = [text(LEFT, 16, `Latency of operations, seed ${seed}`, "title"), text(LEFT, 31, LEGEND, "quiet")];
  const rows: number[] = [];
  for (const { fromMs, untilMs, wholeMs, text: label } of faults) {
    parts.push(band("fault", x(fromMs), x(untilMs)), band("late", x(untilMs), x(wholeMs)));
    const left = x(fromMs);
    const free = rows.findIndex((end) => end < left);
    const row = free < 0 ? rows.length : free;
    const width = label.length * LABEL_CHARACTER_WIDTH;
    const start = Math.min(left, WIDTH - RIGHT - width);
    rows[row] = start + width;
    parts.push(text(start, TOP + PLOT_HEIGHT + 32 + row * LABEL_HEIGHT, label));
  }
  for (let decade = 0; decade <= DECADES; decade++) {
    const ms = MS_MIN * 10 ** decade;
    parts.push(`<line class="line" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${px(y(ms))}" y2="${px(y(ms))}"/>`);
    parts.push(text(LEFT - 6, y(ms) + 4, `${ms.toLocaleString("en-US")} ms`, "quiet", "end"));
  }
  for (let second = 0; second * 1_000 <= durationMs; second += secondStep(durationMs)) {
    parts.push(text(x(history.startedMs + second * 1_000), TOP + PLOT_HEIGHT + 15, `${second} s`, "quiet", "middle"));
  }
  parts.push(...curves([...buckets].sort((a, b) => a[0] - b[0]), centre, y));
  return svg(TOP + PLOT_HEIGHT + 40 + rows.length * LABEL_HEIGHT, parts);
}

const LEGEND =
  "line: median, dots: slowest of 200 ms; red marks below: not acknowledged; bands: red faults, yellow recovery";

function curves(
  buckets: readonly (readonly [number, Bucket])[],
  x: (at: number) => number,
  y: (ms: number) => number,
): readonly string[] {
  const parts: string[] = [];
  let path = "";
  let previous = Number.NEGATIVE_INFINITY;
  for (const [at, { latencies, failures }] of buckets) {
    if (failures > 0) {
      parts.push(`<rect class="lost" x="${px(x(at) - 1)}" y="${TOP + PLOT_HEIGHT + 1}" width="2" height="4"/>`);
    }
    if (latencies.length === 0) continue;
    const sorted = latencies.sort((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)] ?? 0;
    path += `${at === previous + 1 ? "L" : "M"}${px(x(at))} ${px(y(middle))}`;
    previous = at;
    parts.push(`<circle class="slowest" cx="${px(x(at))}" cy="${px(y(sorted.at(-1) ?? 0))}" r="1.5"/>`);
  }
  return [...parts, `<path class="middle" d="${path}"/>`];
}

function secondStep(durationMs: number): number {
  return durationMs < 60_000 ? 5 : durationMs < 300_000 ? 10 : 60;
}

function band(style: string, from: number, to: number): string {
  const width = Math.max(1, to - from);
  return `<rect class="${style}" x="${px(from)}" y="${TOP}" width="${px(width)}" height="${PLOT_HEIGHT}"/>`;
}

function text(x: number, y: number, content: string, style = "", anchor = "start"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${px(x)}" y="${px(y)}" class="${style}" text-anchor="${anchor}">${escaped}</text>`;
}

function px(value: number): string {
  return value.toFixed(1);
}

function svg(height: number, parts: readonly string[]): string {
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">\n${[STYLE, ...parts].join("\n")}\n</svg>\n`;
}

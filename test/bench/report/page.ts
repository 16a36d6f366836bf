// Owns: putting measured tables and charts into the page of documentation. Its prose is written by hand around them.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Results } from "../results.ts";
import type { ThroughputResult, ThroughputRow } from "../sections/throughput.ts";
import { barChart, dotChart } from "./chart.ts";
import { blocksOf } from "./tables.ts";

const DOCS = fileURLToPath(new URL("../../../docs/explanation/", import.meta.url));
const PAGE = `${DOCS}performance.md`;

/** Answers the files written. Blocks that were not measured stay as they are. */
export function writePage(results: Results): readonly string[] {
  let page = readFileSync(PAGE, "utf8");
  for (const [name, block] of blocksOf(results)) page = replaceBlock(page, name, block);
  writeFileSync(PAGE, page);
  return [PAGE, ...writeCharts(results)];
}

/** @throws Error when the page has no such block. */
export function replaceBlock(page: string, name: string, block: string): string {
  const begin = `<!-- measured: ${name} -->`;
  const end = "<!-- end -->";
  const from = page.indexOf(begin);
  const to = page.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`the page has no block "${begin}" … "${end}"`);
  return `${page.slice(0, from + begin.length)}\n${block}\n${page.slice(to)}`;
}

function writeCharts({ throughput, kills }: Results): readonly string[] {
  const charts: (readonly [string, string])[] = [];
  if (throughput !== undefined) charts.push(["throughput.svg", throughputChart(throughput)]);
  if (kills !== undefined) {
    const series = kills.map(({ system, victim, gapsMs }) => {
      return { name: `${system}, ${victim === "any" ? "any node" : "the leader"}`, values: gapsMs };
    });
    charts.push(["kills.svg", dotChart("Longest time without an acknowledged write after kill -9", series)]);
  }
  mkdirSync(`${DOCS}charts`, { recursive: true });
  return charts.map(([name, text]) => {
    writeFileSync(`${DOCS}charts/${name}`, text);
    return `${DOCS}charts/${name}`;
  });
}

function throughputChart({ rows }: ThroughputResult): string {
  const targets = [...new Set(rows.map(({ target }) => target))];
  const panel = (operation: ThroughputRow["operation"], title: string) => {
    const own = rows.filter((row) => row.operation === operation);
    const clients = [...new Set(own.map((row) => row.clients))];
    const groups = clients.map((count) => ({
      label: count === 1 ? "1 client" : `${count} clients`,
      values: targets.map((target) => {
        return own.find((row) => row.clients === count && row.target === target)?.median.perSecond ?? 0;
      }),
    }));
    return { title, groups };
  };
  return barChart("Three nodes, fsync, 256-byte values, median of the rounds", targets, [
    panel("put", "puts per second"),
    panel("get", "linearizable gets per second"),
  ]);
}

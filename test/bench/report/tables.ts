// Owns: the results as Markdown tables.
import type { Machine } from "../machine.ts";
import type { Results } from "../results.ts";
import type { KeysResult, MemoryResult } from "../sections/growth.ts";
import type { KillsResult } from "../sections/kills.ts";
import type { ThroughputResult, ThroughputRow } from "../sections/throughput.ts";
import type { VotersRow } from "../sections/voters.ts";
import { median } from "../statistics.ts";

const MiB = 2 ** 20;
const OPERATIONS = { put: "puts", get: "linearizable gets" } as const;

export function machineTable(machine: Machine): string {
  const { date, cpu, cores, memoryGiB, system, node, aether, etcd, fileSystem, syncMs } = machine;
  return table(["", ""], [
    ["date", date],
    ["machine", `${cores} cores (${cpu}), ${memoryGiB} GiB, ${system}, ${fileSystem}`],
    ["`fdatasync` of 4 KiB", `p50 ${ms(syncMs.p50)}, p99 ${ms(syncMs.p99)}`],
    ["Aether", `${aether} on Node.js ${node}`],
    ["etcd", etcd ?? "not installed: nothing was compared"],
  ]);
}

export function throughputTable({ rows, readBack }: ThroughputResult): string {
  const head = ["", "clients", "system", "per second", "p50", "p99", "failed", "generator", "nodes", "rounds"];
  const lines = rows.map((row) => [
    OPERATIONS[row.operation],
    String(row.clients),
    row.target,
    isBest(row, rows) ? `**${count(row.median.perSecond)}**` : count(row.median.perSecond),
    ms(row.median.p50Ms),
    ms(row.median.p99Ms),
    String(row.failed),
    cores(row.median.generatorCores),
    cores(row.median.nodesCores),
    row.allPerSecond.map(count).join(" "),
  ]);
  const note = `${count(readBack)} values were read back and compared with what had been acknowledged.`;
  return `${table(head, lines)}\n\n${note}`;
}

export function killsTable(results: readonly KillsResult[]): string {
  const head = ["system", "killed", "kills", "gap p50", "gap p99", "gap longest"];
  head.push("one connection p50", "one connection p99", "back p50", "back longest", "calm");
  return table(head, results.map((result) => [
    result.system,
    result.victim === "any" ? "every node in turn" : "the leader",
    String(result.gapsMs.length),
    ms(result.p50Ms),
    ms(result.p99Ms),
    ms(Math.max(...result.gapsMs)),
    ms(result.clientP50Ms),
    ms(result.clientP99Ms),
    ms(median(result.returnGapsMs)),
    ms(Math.max(...result.returnGapsMs)),
    ms(result.calmMs),
  ]));
}

export function memoryTable(results: readonly MemoryResult[]): string {
  const marks = results[0]?.marks.map(({ puts }) => puts) ?? [];
  const head = ["puts so far", ...results.map(({ system }) => `${system}: each node`)];
  return table(head, marks.map((puts, index) => [
    count(puts),
    ...results.map(({ marks: found }) => {
      return (found[index]?.residentBytes ?? []).map((bytes) => `${Math.round(bytes / MiB)} MiB`).join(", ");
    }),
  ]));
}

export function keysTable(results: readonly KeysResult[]): string {
  const counts = results[0]?.rows.map(({ keys }) => keys) ?? [];
  const head = ["keys", ...results.flatMap(({ system }) => [`${system}: puts per second`, `${system}: p99`])];
  return table(head, counts.map((keys, index) => [
    count(keys),
    ...results.flatMap(({ rows }) => [count(rows[index]?.perSecond ?? NaN), ms(rows[index]?.p99Ms ?? NaN)]),
  ]));
}

export function votersTable(rows: readonly VotersRow[]): string {
  const head = ["system", "voters", "clients", "puts per second", "p50", "p99", "messages", "frames", "bytes"];
  return table(head, rows.map((row) => [
    row.system,
    String(row.voters),
    String(row.clients),
    count(row.perSecond),
    ms(row.p50Ms),
    ms(row.p99Ms),
    perWrite(row.messagesPerWrite),
    perWrite(row.framesPerWrite),
    count(row.bytesPerWrite),
  ]));
}

/** The blocks of the page that were measured. */
export function blocksOf(results: Results): ReadonlyMap<string, string> {
  const blocks: readonly (readonly [string, string | undefined])[] = [
    ["machine", machineTable(results.machine)],
    ["throughput", results.throughput && throughputTable(results.throughput)],
    ["kills", results.kills && killsTable(results.kills)],
    ["memory", results.memory && memoryTable(results.memory)],
    ["keys", results.keys && keysTable(results.keys)],
    ["voters", results.voters && votersTable(results.voters)],
  ];
  return new Map(blocks.flatMap(([name, text]) => (text === undefined ? [] : [[name, text] as const])));
}

function isBest(row: ThroughputRow, rows: readonly ThroughputRow[]): boolean {
  const rivals = rows.filter(({ operation, clients }) => operation === row.operation && clients === row.clients);
  return rivals.every(({ median }) => median.perSecond <= row.median.perSecond);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)].join("\n");
}

function count(value: number): string {
  return Number.isNaN(value) ? "-" : Math.round(value).toLocaleString("en-US");
}

function ms(value: number): string {
  if (Number.isNaN(value)) return "-";
  return value < 10 ? `${value.toFixed(2)} ms` : `${count(value)} ms`;
}

function cores(value: number | undefined): string {
  return value === undefined ? "-" : value.toFixed(2);
}

function perWrite(value: number | undefined): string {
  return value === undefined ? "not counted" : value.toFixed(2);
}

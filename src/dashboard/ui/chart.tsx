// Owns: a chart of values over time: drawn by uPlot in the colours of the page, as wide as its place.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { shortNumber } from "../core/format.ts";
import { useStore } from "../live/store.ts";
import { useTheme } from "../theme.ts";

export interface Line {
  readonly name: string;
  readonly color: ChartColor;
}

export type ChartColor = "accent" | "good" | "warn" | "bad" | "doubt" | "muted";

/** `columns`: seconds first, then the values of each line, `null` where nothing is known. */
export type Columns = readonly (readonly (number | null)[])[];

export function Chart({ lines, columns, heightPx = 150, unit = "", onPoint }: {
  readonly lines: readonly Line[];
  readonly columns: Columns;
  readonly heightPx?: number;
  readonly unit?: string;
  /** The column that the pointer is at; must stay the same function. */
  readonly onPoint: (column: number | undefined) => void;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const theme = useStore(useTheme().shown);
  const shape = lines.map(({ name, color }) => `${name}:${color}`).join();
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const size = { width: element.clientWidth, height: heightPx };
    const hooks = { setCursor: [({ cursor }: uPlot) => onPoint(cursor.idx ?? undefined)] };
    const made = new uPlot({ ...size, ...chartOptions(element, lines, unit), hooks }, dataOf(columns), element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [theme, shape, heightPx, unit]);
  useEffect(() => plot.current?.setData(dataOf(columns)), [columns]);
  const names = lines.map(({ name }) => name).join(", ");
  const style = { height: `${heightPx}px` };
  return <div ref={box} class="chart" style={style} role="img" aria-label={`Chart of ${names}`} />;
}

function dataOf(columns: Columns): uPlot.AlignedData {
  return columns.map((column) => [...column]) as unknown as uPlot.AlignedData;
}

type Look = Omit<uPlot.Options, "width" | "height">;

/** A line is seen to move from the first second on, and not to race. */
const SPAN_S_MIN = 120;

function chartOptions(element: HTMLElement, lines: readonly Line[], unit: string): Look {
  const style = getComputedStyle(element);
  const color = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const axis = {
    stroke: color("text-3"),
    font: "11px system-ui",
    grid: { stroke: color("line"), width: 1 },
    ticks: { show: false },
  };
  return {
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    padding: [8, 24, 0, 0],
    scales: {
      x: { range: (_plot, min, max) => [Math.min(min, max - SPAN_S_MIN), max] },
      y: { range: (_plot, _min, max) => [0, Math.max(1, max * 1.15)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 24, space: 80, values: (_plot, splits) => splits.map(timeText) },
      {
        ...axis, size: 52, space: 32,
        values: (_plot, splits) => splits.map((value) => `${shortNumber(value)}${unit}`),
      },
    ],
    series: [
      {},
      ...lines.map(({ name, color: of }): uPlot.Series => ({
        label: name,
        stroke: color(of === "muted" ? "text-3" : of),
        fill: lines.length === 1 ? color(`${of}-soft`) : undefined,
        width: 1.5,
        points: { show: false },
      } as uPlot.Series)),
    ],
  };
}

function timeText(seconds: number): string {
  const date = new Date(seconds * 1_000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

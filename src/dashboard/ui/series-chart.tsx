// Owns: a chart of series that every node keeps for two hours: read every other second, ten minutes of them.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { query } from "../api.ts";
import { alignSeries } from "../core/align-series.ts";
import { useAnswer } from "../live/use-answer.ts";
import { Chart, type ChartColor } from "./chart.tsx";
import { Empty } from "./parts.tsx";

export interface SeriesLine {
  readonly series: string;
  readonly name: string;
  readonly color: ChartColor;
}

interface HistoryAnswer {
  readonly series: readonly { readonly name: string; readonly points: readonly (readonly [number, number])[] }[];
}

const EVERY_MS = 2_000;
const SINCE_MS = 600_000;

export function SeriesChart({ lines, scale = 1, unit = "" }: {
  readonly lines: readonly SeriesLine[];
  readonly scale?: number;
  readonly unit?: string;
}): JSX.Element {
  const names = lines.map(({ series }) => series).join(",");
  const path = `/v1/metrics/history${query({ series: names, sinceMs: SINCE_MS })}`;
  const { data } = useAnswer<HistoryAnswer>(names === "" ? undefined : path, EVERY_MS);
  const columns = useMemo(() => {
    const points = lines.map(({ series }) => data?.series.find(({ name }) => name === series)?.points ?? []);
    return alignSeries(points, scale);
  }, [data, names, scale]);
  const isEmpty = (columns[0]?.length ?? 0) === 0;
  return (
    <>
      {isEmpty
        ? <div class="chart" style={{ height: "150px" }}>
            {data !== undefined && <Empty title="Nothing measured yet" />}</div>
        : <Chart lines={lines} columns={columns} unit={unit} />}
      {lines.length > 1 && <div class="legend">{lines.map(({ series, name, color }) =>
        <span key={series}><i class={`swatch ${color}`} />{name}</span>)}</div>}
    </>
  );
}

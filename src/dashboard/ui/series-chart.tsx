// Owns: a chart of series that every node keeps for two hours: read every other second, ten minutes of them.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { query } from "../api.ts";
import { alignSeries } from "../core/align-series.ts";
import { shortNumber } from "../core/format.ts";
import { useAnswer } from "../live/use-answer.ts";
import { Chart, type ChartColor } from "./chart.tsx";
import { clockText, Empty } from "./parts.tsx";

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
  const [pointed, setPointed] = useState<number | undefined>(undefined);
  const at = pointed ?? (columns[0]?.length ?? 0) - 1;
  const isEmpty = (columns[0]?.length ?? 0) === 0;
  return (
    <>
      {isEmpty
        ? <div class="chart" style={{ height: "150px" }}>
            {data !== undefined && <Empty title="Nothing measured yet" />}</div>
        : <Chart lines={lines} columns={columns} unit={unit} onPoint={setPointed} />}
      <div class="legend">{lines.map(({ series, name, color }, line) =>
        <span key={series}><i class={`swatch ${color}`} />{name}
          <b>{valueText(columns[line + 1]?.[at], unit)}</b></span>)}
        {pointed !== undefined && <time>{clockText((columns[0]?.[at] ?? 0) * SECOND_MS).slice(11, 19)}</time>}</div>
    </>
  );
}

const SECOND_MS = 1_000;

function valueText(value: number | null | undefined, unit: string): string {
  return value === null || value === undefined ? "—" : `${shortNumber(value)}${unit}`;
}

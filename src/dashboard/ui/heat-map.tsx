// Owns: a heat map of durations: time to the right, doublings upwards, the more calls the stronger.
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { HEAT_ROWS, heatOf, heatRowMs } from "../core/heat.ts";
import { durationText } from "../core/format.ts";
import { useStore } from "../live/store.ts";
import { useTheme } from "../theme.ts";

const ROW_PX = 9;
const AXIS_PX = 52;
const LABEL_EVERY = 4;

/** `columns`: one for each second, the last one is now; `seconds` of them are shown. */
export function HeatMap({ columns, seconds }: {
  readonly columns: readonly (readonly number[])[];
  readonly seconds: number;
}): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useStore(useTheme().shown);
  useLayoutEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    const paint = (): void => draw(element, columns, seconds);
    paint();
    const observer = new ResizeObserver(paint);
    observer.observe(element);
    return () => observer.disconnect();
  }, [columns, seconds, theme]);
  const style = { height: `${HEAT_ROWS * ROW_PX}px` };
  return <canvas ref={canvas} class="heat" style={style} role="img" aria-label="Heat map of durations of calls" />;
}

function draw(canvas: HTMLCanvasElement, columns: readonly (readonly number[])[], seconds: number): void {
  const context = canvas.getContext("2d");
  if (context === null) return;
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const cell = (width - AXIS_PX) / seconds;
  const most = Math.max(0, ...columns.map((column) => Math.max(...column)));
  context.fillStyle = style.getPropertyValue("--text-3");
  context.font = "11px system-ui";
  context.textAlign = "right";
  for (let row = 0; row < HEAT_ROWS; row += LABEL_EVERY) {
    context.fillText(durationLabel(heatRowMs(row)), AXIS_PX - 8, yOf(row, height) + ROW_PX);
  }
  context.fillStyle = style.getPropertyValue("--surface-2");
  context.fillRect(AXIS_PX, 0, width - AXIS_PX, height);
  context.fillStyle = style.getPropertyValue("--accent");
  for (const [at, column] of columns.slice(-seconds).entries()) {
    const x = width - (Math.min(columns.length, seconds) - at) * cell;
    for (const [row, count] of column.entries()) {
      if (count === 0) continue;
      context.globalAlpha = heatOf(count, most);
      context.fillRect(x, yOf(row, height), Math.max(1, cell - 0.5), ROW_PX - 1);
    }
  }
  context.globalAlpha = 1;
}

function yOf(row: number, height: number): number {
  return height - (row + 1) * ROW_PX;
}

function durationLabel(ms: number): string {
  return ms < 1 ? `${ms} ms` : durationText(ms);
}

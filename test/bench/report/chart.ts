// Owns: small charts as SVG text, readable on light and on dark ground.

const WIDTH = 720;
const STYLE = `<style>
text{font:12px system-ui,sans-serif;fill:#24292f}
.title{font-weight:600;font-size:14px}
.quiet{fill:#57606a}
.line{stroke:#d0d7de;stroke-width:1}
.s0{fill:#2f6feb}.s1{fill:#bf8700}.s2{fill:#e0b64a}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.quiet{fill:#9198a1}.line{stroke:#3d444d}
.s0{fill:#5b95ff}.s1{fill:#d9a11f}.s2{fill:#8f6a12}
}
</style>`;

export interface BarGroup {
  readonly label: string;
  /** One per series. */
  readonly values: readonly number[];
}

export interface BarPanel {
  readonly title: string;
  readonly groups: readonly BarGroup[];
}

const BAR = { left: 120, right: 90, height: 15, groupGap: 12, panelGap: 34 } as const;
const HEAD_HEIGHT = 52;

/** Panels below each other, each with a scale of its own; bars that are longer are better. */
export function barChart(title: string, series: readonly string[], panels: readonly BarPanel[]): string {
  const parts = [...heading(title, series)];
  let y = HEAD_HEIGHT;
  for (const panel of panels) {
    y += BAR.panelGap - 14;
    parts.push(text(8, y, panel.title, "title"));
    y += 12;
    const most = Math.max(1, ...panel.groups.flatMap(({ values }) => values));
    for (const group of panel.groups) {
      const height = group.values.length * BAR.height;
      parts.push(text(BAR.left - 8, y + height / 2 + 4, group.label, "quiet", "end"));
      for (const [index, value] of group.values.entries()) {
        const width = Math.max(1, ((WIDTH - BAR.left - BAR.right) * value) / most);
        const top = y + index * BAR.height;
        const size = `width="${width.toFixed(1)}" height="${BAR.height - 2}"`;
        parts.push(`<rect class="s${index}" x="${BAR.left}" y="${top}" ${size} rx="2"/>`);
        parts.push(text(BAR.left + width + 6, top + BAR.height - 4, value.toLocaleString("en-US")));
      }
      y += height + BAR.groupGap;
    }
  }
  return svg(y + 4, parts);
}

export interface DotSeries {
  readonly name: string;
  /** Milliseconds; each is one dot. */
  readonly values: readonly number[];
}

const DOTS = { left: 150, right: 48, row: 44 } as const;
const DECADE = 10;

/** One row of dots per series on a logarithmic scale of milliseconds; further left is better. */
export function dotChart(title: string, series: readonly DotSeries[]): string {
  const all = series.flatMap(({ values }) => values).map((value) => Math.max(1, value));
  const decades = Math.max(1, Math.ceil(Math.log10(Math.max(DECADE, ...all))));
  const x = (value: number): number =>
    DOTS.left + ((WIDTH - DOTS.left - DOTS.right) * Math.log10(Math.max(1, value))) / decades;
  const bottom = HEAD_HEIGHT + series.length * DOTS.row;
  const parts = [text(8, 20, title, "title")];
  for (let decade = 0; decade <= decades; decade++) {
    const at = x(DECADE ** decade).toFixed(1);
    parts.push(`<line class="line" x1="${at}" x2="${at}" y1="34" y2="${bottom}"/>`);
    parts.push(text(Number(at), bottom + 16, `${(DECADE ** decade).toLocaleString("en-US")} ms`, "quiet", "middle"));
  }
  for (const [index, { name, values }] of series.entries()) {
    const middle = HEAD_HEIGHT + index * DOTS.row + 8;
    parts.push(text(8, middle + 4, name));
    for (const [order, value] of values.entries()) {
      const y = middle + ((order % 5) - 2) * 5;
      parts.push(`<circle class="s${index}" cx="${x(value).toFixed(1)}" cy="${y}" r="4" fill-opacity="0.75"/>`);
    }
  }
  return svg(bottom + 26, parts);
}

function heading(title: string, series: readonly string[]): readonly string[] {
  let x = 8;
  const legend = series.flatMap((name, index) => {
    const parts = [`<rect class="s${index}" x="${x}" y="32" width="12" height="12" rx="2"/>`, text(x + 18, 42, name)];
    x += 40 + name.length * 7;
    return parts;
  });
  return [text(8, 20, title, "title"), ...legend];
}

function text(x: number, y: number, content: string, style = "", anchor = "start"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${style}" text-anchor="${anchor}">${escaped}</text>`;
}

function svg(height: number, parts: readonly string[]): string {
  const size = `width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">\n${[STYLE, ...parts].join("\n")}\n</svg>\n`;
}

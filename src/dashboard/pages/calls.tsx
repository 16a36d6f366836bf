// Owns: the page of calls: how many, how many fail, how long they take.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { MethodAnswer, SnapshotAnswer } from "../answers.ts";
import { plural, shortNumber } from "../core/format.ts";
import { heatColumn } from "../core/heat.ts";
import { useStore } from "../live/store.ts";
import { hrefOf } from "../route.ts";
import { useSession } from "../session.tsx";
import { HeatMap } from "../ui/heat-map.tsx";
import { Icon } from "../ui/icons.tsx";
import { Card, Empty, Loading, PageHead, Tile } from "../ui/parts.tsx";
import { SeriesChart } from "../ui/series-chart.tsx";
import { VirtualList } from "../ui/virtual-list.tsx";

const SECONDS_SHOWN = 120;

export function CallsPage({ slice, method }: {
  readonly slice: string | undefined;
  readonly method: string | undefined;
}): JSX.Element {
  const { metrics } = useSession();
  useEffect(() => metrics.watch(), [metrics]);
  const kept = useStore(metrics.kept);
  const snapshot = kept.at(-1)?.snapshot;
  const heat = useMemo(
    () => kept.slice(-SECONDS_SHOWN).map((one) => heatColumn(chosen(one.snapshot, slice, method))),
    [kept, slice, method],
  );
  const isOne = slice !== undefined && method !== undefined;
  const series = isOne ? `method/${slice}/${method}/handled` : "cluster/calls";
  return (
    <div class="page">
      {isOne && <a class="back" href={hrefOf(["calls"])}><Icon name="back" size={15} />Calls</a>}
      <PageHead title={isOne ? `${slice}.${method}` : "Calls"}
        note={isOne ? "as its instances handled them, over all nodes"
          : "between slices and from outside, over all nodes"} />
      {snapshot === undefined
        ? <Card><Loading /></Card>
        : <Tiles snapshot={snapshot} one={oneOf(snapshot, slice, method)} />}
      <div class="grid-2">
        <Card title="Calls a second"><div class="card-body">
          <SeriesChart lines={[
            { series: `${series}/callsPerSecond`, name: "calls", color: "accent" },
            { series: `${series}/errorsPerSecond`, name: "errors", color: "bad" },
          ]} />
        </div></Card>
        <Card title="How long they take"><div class="card-body">
          <SeriesChart unit=" ms" lines={[
            { series: `${series}/p50Ms`, name: "p50", color: "good" },
            { series: `${series}/p95Ms`, name: "p95", color: "accent" },
            { series: `${series}/p99Ms`, name: "p99", color: "doubt" },
          ]} />
        </div></Card>
      </div>
      <Card title="Durations, second by second"
        aside={<span class="note">the last {SECONDS_SHOWN} s, from when this page was opened</span>}>
        <div class="card-body"><HeatMap columns={heat} seconds={SECONDS_SHOWN} /></div>
      </Card>
      {snapshot !== undefined && !isOne && <Methods />}
    </div>
  );
}

/** Calls as their instances handled them: each is counted once. */
function chosen({ methods }: SnapshotAnswer, slice?: string, method?: string): readonly MethodAnswer[] {
  return methods.filter((one) => one.direction === "handled" &&
    (slice === undefined || one.slice === slice) && (method === undefined || one.method === method));
}

interface Numbers {
  readonly callsPerSecond: number;
  readonly errorsPerSecond: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

function oneOf(snapshot: SnapshotAnswer, slice?: string, method?: string): Numbers | undefined {
  return slice === undefined || method === undefined ? undefined : chosen(snapshot, slice, method)[0];
}

function Tiles({ snapshot, one }: {
  readonly snapshot: SnapshotAnswer;
  readonly one: Numbers | undefined;
}): JSX.Element {
  const { cluster } = snapshot;
  const calls = one?.callsPerSecond ?? cluster["callsPerSecond"] ?? 0;
  const errors = one?.errorsPerSecond ?? cluster["callErrorsPerSecond"] ?? 0;
  const share = calls === 0 ? 0 : (errors / calls) * 100;
  const known = snapshot.methods.flatMap(({ p99Ms }) => p99Ms ?? []);
  const slowest = known.length === 0 ? null : Math.max(...known);
  return (
    <div class="tiles">
      <Tile label="Calls a second" value={shortNumber(calls)}
        note={snapshot.isStale ? "old: nobody reports now" : " "} />
      <Tile label="Errors a second" value={shortNumber(errors)} note={`${share.toFixed(1)}% of the calls`}
        {...(share >= 1 ? { tone: "bad" as const } : {})} />
      <Tile label={one === undefined ? "Slowest method, p99" : "p99"}
        value={msText(one === undefined ? slowest : one.p99Ms)}
        note={one === undefined ? "of the last second" : `p50 ${msText(one.p50Ms)}`} />
      <Tile label="In instances now" value={shortNumber(cluster["callsInFlight"] ?? 0)}
        note={`${shortNumber(cluster["callsQueued"] ?? 0)} wait for a place`} />
    </div>
  );
}

function msText(ms: number | null | undefined): string {
  return ms === null || ms === undefined ? "—" : `${shortNumber(ms)} ms`;
}

const METHOD_ROW_PX = 40;
const METHOD_ROWS_SEEN = 12;

function Methods(): JSX.Element {
  const handled = useStore(useSession().metrics.handled);
  const methods = [...handled].sort((a, b) =>
    b.callsPerSecond - a.callsPerSecond || (nameOf(a) < nameOf(b) ? -1 : 1));
  if (methods.length === 0) {
    return <Card title="Methods">
      <Empty title="No calls yet">Call a method with <code>aether call SLICE METHOD</code>.</Empty></Card>;
  }
  const height = `${Math.min(methods.length, METHOD_ROWS_SEEN) * METHOD_ROW_PX}px`;
  return (
    <Card title="Methods" aside={<span class="note">{plural(methods.length, "method")}, the busiest first</span>}>
      <div class="row method-row list-head" aria-hidden="true">
        <span>Method</span><span class="right">Calls a second</span><span class="right hide-small">Errors</span>
        <span class="right hide-small">p50</span><span class="right">p99</span></div>
      <div class="list-place" style={{ height }}>
        <VirtualList items={methods} rowPx={METHOD_ROW_PX} order="changes" label="Methods" keyOf={nameOf}
          hrefOf={({ slice, method }) => hrefOf(["calls", slice, method])}>
          {(one) => <MethodLine one={one} />}
        </VirtualList>
      </div>
    </Card>
  );
}

function nameOf({ slice, method }: MethodAnswer): string {
  return `${slice}.${method}`;
}

function MethodLine({ one }: { readonly one: MethodAnswer }): JSX.Element {
  const { callsPerSecond, errorsPerSecond, p50Ms, p99Ms } = one;
  return (
    <div class="row method-row">
      <span class="cut link" title={nameOf(one)}>{nameOf(one)}</span>
      <span class="right">{shortNumber(callsPerSecond)}</span>
      <span class={`right hide-small ${errorsPerSecond > 0 ? "bad-text" : "muted"}`}>
        {shortNumber(errorsPerSecond)}</span>
      <span class="right hide-small">{msText(p50Ms)}</span>
      <span class="right">{msText(p99Ms)}</span>
    </div>
  );
}

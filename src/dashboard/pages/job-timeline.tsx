// Owns: the timeline of one job: its moments as bars on one scale, each with its events; the latest ones at first.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { plural } from "../core/format.ts";
import { barOf, lengthText, scaleEnd, timelineOf, type Moment } from "../core/timeline.ts";
import type { JobShown } from "../live/job-log.ts";
import { useTick } from "../ui/clock.ts";
import { Button, Card, clockText, Dot, Empty, Json } from "../ui/parts.tsx";

/** Moments that are drawn at first, the latest of them; the others are shown when asked for. */
const MOMENT_ROWS = 200;

export function Timeline({ shown, isCollected, endMs }: {
  readonly shown: JobShown;
  readonly isCollected: boolean;
  /** Of a job that has ended. */
  readonly endMs: number | undefined;
}): JSX.Element {
  const moments = useMemo(() => timelineOf(shown.events), [shown.events]);
  return (
    <Card title="Timeline" aside={<span class="note">{plural(shown.events.length, "event")}</span>}>
      {isCollected &&
        <Empty title="Its log was taken away">Only the outcome is kept of jobs that ended long ago.</Empty>}
      {endMs === undefined ? <MomentsNow moments={moments} /> : <Moments moments={moments} nowMs={endMs} isOver />}
      {shown.more && <p class="note card-body">
        Only the first {shown.events.length} events: <code>aether job trace</code> has all.</p>}
    </Card>
  );
}

function MomentsNow({ moments }: { readonly moments: readonly Moment[] }): JSX.Element {
  return <Moments moments={moments} nowMs={useTick()} />;
}

function Moments({ moments, nowMs, isOver = false }: {
  readonly moments: readonly Moment[];
  readonly nowMs: number;
  readonly isOver?: boolean;
}): JSX.Element {
  const [opened, setOpened] = useState<number | undefined>(undefined);
  const latest = Math.max(0, moments.length - MOMENT_ROWS);
  // Stays while more are added: a row does not go away under somebody's finger.
  const [first, setFirst] = useState(latest);
  const hidden = Math.min(first, latest);
  const rows = moments.slice(hidden);
  const fromMs = moments[0]?.fromMs ?? nowMs;
  const lastMs = moments.reduce((end, { toMs = 0 }) => Math.max(end, toMs), nowMs);
  const endMs = isOver ? lastMs : scaleEnd(fromMs, lastMs);
  return (
    <div class="timeline">
      {hidden > 0 && <div class="card-body">
        <Button onPress={() => setFirst(0)}>{`${plural(hidden, "moment")} before these`}</Button></div>}
      {rows.map((moment) => {
        const { left, width } = barOf(moment, { fromMs, nowMs, endMs });
        return <MomentRow key={moment.seq} moment={moment} left={left} width={width}
          length={lengthText(moment, nowMs)} isOpen={opened === moment.seq} onPress={setOpened} />;
      })}
    </div>
  );
}

function MomentRow({ moment, left, width, length, isOpen, onPress }: {
  readonly moment: Moment;
  readonly left: number;
  readonly width: number;
  readonly length: string;
  readonly isOpen: boolean;
  readonly onPress: (opened: number | undefined) => void;
}): JSX.Element {
  const { seq, toMs, events } = moment;
  // Thousands of rows are asked every second whether they look as before: a moment changes by an event or its end.
  return useMemo(() => (
    <div>
      <button type="button" class="moment" aria-expanded={isOpen} onClick={() => onPress(isOpen ? undefined : seq)}>
        <Dot tone={moment.tone} />
        <span class="moment-title">
          <strong>{moment.title}</strong><span class="moment-note">{moment.note}</span>
        </span>
        <span class="bar" aria-hidden="true">
          <div class={moment.tone} style={{ left: `min(${left}%, calc(100% - 3px))`, width: `${width}%` }} />
        </span>
        <span class="right muted nowrap">{length}</span>
      </button>
      {isOpen && <div class="moment-more">
        {events.map((event) => (
          <div key={event.seq}>
            <p class="note">{event.seq}. {event.type} at {clockText(event.atMs)}, epoch {event.epoch}</p>
            <Json value={event.data} />
          </div>
        ))}
      </div>}
    </div>
  ), [seq, toMs, events.length, left, width, length, isOpen]);
}

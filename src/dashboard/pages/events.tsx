// Owns: the page of what has happened in the cluster.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { ClusterEventAnswer } from "../answers.ts";
import { plural } from "../core/format.ts";
import type { Tone } from "../core/quorum.ts";
import { useStore } from "../live/store.ts";
import { hrefOf, replacePlace } from "../route.ts";
import { useSession } from "../session.tsx";
import { Badge, Card, clockText, Empty, Loading, PageHead } from "../ui/parts.tsx";
import { Search } from "../ui/search.tsx";
import { VirtualList } from "../ui/virtual-list.tsx";

const ROW_PX = 46;
const TONES: Readonly<Record<string, Tone>> = { info: "idle", warning: "warn", error: "bad" };

export function EventsPage({ filters }: { readonly filters: Readonly<Record<string, string>> }): JSX.Element {
  const { events: book } = useSession();
  useEffect(() => book.watch(), [book]);
  const { events, isLoaded } = useStore(book.shown);
  const { area = "", text = "" } = filters;
  const areas = useMemo(() => [...new Set(events.map((event) => event.area))].sort(), [events]);
  const found = useMemo(() => events.filter((event) => isFound(event, area, text)), [events, area, text]);
  const go = (change: Readonly<Record<string, string>>): void =>
    replacePlace(hrefOf(["events"], { ...filters, ...change }));
  return (
    <div class="page fills">
      <PageHead title="Events"
        note={isLoaded ? `${plural(events.length, "event")}, the latest that this node has told` : " "} />
      <div class="filters">
        <Search value={text} label="Find by text, subject or kind" onValue={(to) => go({ text: to })} />
      </div>
      <div class="filters chips">
        <button type="button" class="chip" aria-pressed={area === ""} onClick={() => go({ area: "" })}>All</button>
        {areas.map((name) => (
          <button key={name} type="button" class="chip" aria-pressed={area === name}
            onClick={() => go({ area: area === name ? "" : name })}>{name}</button>
        ))}
      </div>
      <Card class="fills-card">
        {!isLoaded && <Loading rows={8} />}
        {isLoaded && found.length === 0 && <Empty
          title={events.length === 0 ? "Nothing has happened lately" : "No event is like that"}>
          Members that come and go, leaders, deployments, rollouts and jobs are told here as they happen.</Empty>}
        {found.length > 0 && (
          <VirtualList items={found} rowPx={ROW_PX} order="kept" label="Events" keyOf={({ id }) => id}
            hrefOf={hrefOfEvent}>
            {(event) => <EventLine event={event} />}
          </VirtualList>
        )}
      </Card>
    </div>
  );
}

function EventLine({ event }: { readonly event: ClusterEventAnswer }): JSX.Element {
  const { atMs, severity, kind, subject, text } = event;
  return (
    <div class="row event-row" title={`${clockText(atMs)} ${kind} ${subject}: ${text}`}>
      <span class="mono muted">{clockText(atMs).slice(11, 19)}</span>
      <span class="kind cut"><Badge tone={TONES[severity] ?? "idle"}>{kind}</Badge></span>
      <span class="text cut">{text} <span class="muted mono">{subject}</span></span>
    </div>
  );
}

/** To what the event is about, where there is a page of it. */
function hrefOfEvent({ subject }: ClusterEventAnswer): string {
  const [kind = "", ...rest] = subject.split("/");
  const name = rest.join("/");
  if (kind === "job" && name !== "") return hrefOf(["jobs", name]);
  if (kind === "slice" && name !== "") return hrefOf(["slices", name]);
  return hrefOf([kind === "blueprint" ? "slices" : "cluster"]);
}

function isFound({ area, kind, subject, text }: ClusterEventAnswer, wantedArea: string, wanted: string): boolean {
  if (wantedArea !== "" && area !== wantedArea) return false;
  return wanted === "" || [kind, subject, text].some((part) => part.toLowerCase().includes(wanted.toLowerCase()));
}

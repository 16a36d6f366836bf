// Owns: the frame around the pages: where one can go, how the cluster is, what has gone wrong.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useErrorBoundary, useRef } from "preact/hooks";
import { unreachable } from "../base/assert.ts";
import { after } from "./browser-adapter.ts";
import { plural } from "./core/format.ts";
import { quorumVerdict } from "./core/quorum.ts";
import { moveTo, type Connection, type NextNode } from "./live/cluster-feed.ts";
import { useStore } from "./live/store.ts";
import { useFeed } from "./live/use-answer.ts";
import { ApprovalsPage } from "./pages/approvals.tsx";
import { CallsPage } from "./pages/calls.tsx";
import { ClusterPage } from "./pages/cluster.tsx";
import { EventsPage } from "./pages/events.tsx";
import { JobPage } from "./pages/job.tsx";
import { JobsPage } from "./pages/jobs.tsx";
import { SlicesPage } from "./pages/slices.tsx";
import { StorePage } from "./pages/store.tsx";
import { hrefOf, type Place } from "./route.ts";
import { SessionProvider, useSession, type Session } from "./session.tsx";
import { ThemeProvider, THEMES, type ThemeChoice } from "./theme.ts";
import { useTick } from "./ui/clock.ts";
import { AskingProvider, Dialogs } from "./ui/dialog.tsx";
import { useKeptFocus } from "./ui/kept-focus.ts";
import { Icon, type IconName } from "./ui/icons.tsx";
import { Button, Dot, Empty } from "./ui/parts.tsx";

interface PageLink {
  readonly name: string;
  readonly title: string;
  readonly icon: IconName;
}

const PAGES: readonly PageLink[] = [
  { name: "cluster", title: "Cluster", icon: "cluster" },
  { name: "slices", title: "Slices", icon: "slices" },
  { name: "calls", title: "Calls", icon: "calls" },
  { name: "jobs", title: "Jobs", icon: "jobs" },
  { name: "approvals", title: "Approvals", icon: "approvals" },
  { name: "store", title: "Store", icon: "store" },
  { name: "events", title: "Events", icon: "events" },
];

/** Beyond it the exact number says nothing more. */
const COUNT_MAX = 99;
const COUNTS_EVERY_MS = 3_000;
const LOGO = document.querySelector<HTMLLinkElement>('link[rel="icon"]')?.href ?? "";

export function App({ session }: { readonly session: Session }): JSX.Element {
  return (
    <SessionProvider value={session}>
      <ThemeProvider value={session.theme}>
        <AskingProvider value={session.asking}>
          <Frame />
          <Dialogs asking={session.asking} />
          <Notices />
        </AskingProvider>
      </ThemeProvider>
    </SessionProvider>
  );
}

function Frame(): JSX.Element {
  const { feed, places } = useSession();
  const place = useStore(places);
  const connection = useStore(feed.connection);
  const cluster = useStore(feed.cluster);
  useKeys();
  const [name = "cluster"] = place.parts;
  useEffect(() => {
    const title = PAGES.find((page) => page.name === name)?.title ?? "Aether";
    document.title = cluster === undefined ? `${title} · Aether` : `${title} · ${cluster.cluster}`;
  }, [name, cluster?.cluster]);
  if (cluster === undefined) return <StartScreen connection={connection} />;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => {
        event.preventDefault();
        document.querySelector<HTMLElement>("main")?.focus();
      }}>Skip to the page</a>
      <Side current={name} />
      <Main>
        <Banners connection={connection} />
        <Boundary key={place.parts.join("/")}><Page place={place} /></Boundary>
      </Main>
    </div>
  );
}

function Main({ children }: { readonly children: ComponentChildren }): JSX.Element {
  const main = useRef<HTMLElement>(null);
  useKeptFocus(main);
  return <main ref={main} class="main" tabIndex={-1}>{children}</main>;
}

function Page({ place }: { readonly place: Place }): JSX.Element {
  const [name = "cluster", of, more] = place.parts;
  switch (name) {
    case "cluster":
      return <ClusterPage />;
    case "slices":
      return <SlicesPage slice={of} filters={place.filters} />;
    case "jobs":
      return of === undefined ? <JobsPage filters={place.filters} /> : <JobPage job={of} />;
    case "calls":
      return <CallsPage slice={of} method={more} />;
    case "events":
      return <EventsPage filters={place.filters} />;
    case "approvals":
      return <ApprovalsPage />;
    case "store":
      return <StorePage filters={place.filters} selected={of === "key" ? more : undefined} />;
    default:
      return <div class="page"><Empty title="There is no such page">The places to go are in the menu.</Empty></div>;
  }
}

function Side({ current }: { readonly current: string }): JSX.Element {
  const session = useSession();
  const cluster = useStore(session.feed.cluster);
  const connection = useStore(session.feed.connection);
  const { alerts = [] } = useFeed(session.alerts, COUNTS_EVERY_MS).data ?? {};
  const { approvals = [], more = false } = useFeed(session.approvals, COUNTS_EVERY_MS).data ?? {};
  const waiting = approvals.length;
  const verdict = cluster === undefined ? undefined : quorumVerdict(cluster.quorum, cluster.voters.length);
  return (
    <div class="side">
      <div class="brand">
        <img src={LOGO} alt="" />
        <div>
          <div class="brand-name">Aether</div>
          <div class="brand-cluster cut">{cluster?.cluster}<span class="only-small"> via {cluster?.node}</span></div>
        </div>
        <div class="only-small segments"><ThemeSwitch /></div>
      </div>
      <nav class="nav" aria-label="Pages">
        {PAGES.map(({ name, title, icon }) => (
          <a key={name} href={hrefOf([name])} aria-current={current === name ? "page" : undefined}>
            <Icon name={icon} />
            <span>{title}</span>
            {name === "cluster" && alerts.length > 0 &&
              <span class={`nav-count ${alerts.some(({ severity }) => severity === "error") ? "bad" : ""}`}
                aria-label={plural(alerts.length, "alert")}>
                {alerts.length > COUNT_MAX ? `${COUNT_MAX}+` : alerts.length}</span>}
            {name === "approvals" && waiting > 0 &&
              <span class="nav-count" aria-label={`${waiting} waiting`}>
                {waiting}{more && "+"}</span>}
          </a>
        ))}
      </nav>
      <div class="side-foot">
        <div class="via">
          <Dot tone={connection.kind === "connected" ? verdict?.tone ?? "idle" : "bad"} />
          via {cluster?.node}, {verdict?.text}
        </div>
        <div class="segments" role="group" aria-label="Theme"><ThemeSwitch /></div>
      </div>
    </div>
  );
}

const THEME_ICONS: Readonly<Record<ThemeChoice, IconName>> = { system: "auto", light: "sun", dark: "moon" };

function ThemeSwitch(): JSX.Element {
  const { theme } = useSession();
  const choice = useStore(theme.choice);
  return (
    <>
      {THEMES.map((name) => (
        <button key={name} type="button" aria-pressed={choice === name} aria-label={`Theme: ${name}`}
          title={`Theme: ${name}`} onClick={() => theme.choose(name)}>
          <Icon name={THEME_ICONS[name]} size={15} />
        </button>
      ))}
    </>
  );
}

function Banners({ connection }: { readonly connection: Connection }): JSX.Element | null {
  const { feed } = useSession();
  const cluster = useStore(feed.cluster);
  switch (connection.kind) {
    case "lost":
      return <LostBanner next={connection.next} />;
    case "refused":
      return (
        <div class="banner warn" role="status">
          <p><strong>This node cannot serve now.</strong> {connection.failure.message}</p>
        </div>
      );
    case "connecting":
    case "connected":
      if (cluster === undefined || cluster.quorum.have >= cluster.quorum.need) return null;
      return (
        <div class="banner bad" role="alert">
          <p><strong>No quorum.</strong> {cluster.node} sees {cluster.quorum.have} of {cluster.voters.length} voters
            and {cluster.quorum.need} are needed: nothing can be changed until another one is back. What is shown
            may be old.</p>
        </div>
      );
    default:
      return unreachable(connection);
  }
}

const MOVE_AFTER_S = 3;

function LostBanner({ next }: { readonly next: NextNode | undefined }): JSX.Element {
  const { feed, asking } = useSession();
  const now = useTick();
  const connection = useStore(feed.connection);
  const isAsking = useStore(asking.asked) !== undefined;
  const node = feed.cluster.get()?.node ?? "this node";
  const go = (): void => next && moveTo(next, location.hash);
  // Whoever is in the middle of something reads first what became of it.
  const movesBy = next !== undefined && !isAsking;
  useEffect(() => (movesBy ? after(MOVE_AFTER_S * 1_000, go) : undefined), [movesBy]);
  const lostForMs = connection.kind === "lost" ? now - connection.sinceMs : 0;
  return (
    <div class="banner bad" role="alert">
      <p><strong>{node} does not answer</strong>, for {Math.max(1, Math.round(lostForMs / 1_000))} s.{" "}
        {next === undefined
          ? "No other node of the cluster answers either. Trying again; what is shown is old."
          : `${next.id} answers: this page goes on there.`}</p>
      {next !== undefined && <Button onPress={go}>Go on with {next.id}</Button>}
    </div>
  );
}

function StartScreen({ connection }: { readonly connection: Connection }): JSX.Element {
  return (
    <div class="start-screen">
      <div>
        <img src={LOGO} alt="" />
        {connection.kind === "connecting" && <p class="muted">Connecting…</p>}
        {connection.kind === "lost" && <><h1>This node does not answer</h1>
          <p class="muted">It is asked again every second. If it stays away, open the address of another node.</p></>}
        {connection.kind === "refused" && <><h1>This node is not ready</h1>
          <p class="muted">{connection.failure.message}</p></>}
      </div>
    </div>
  );
}

function Notices(): JSX.Element {
  const { asking } = useSession();
  const notices = useStore(asking.notices);
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.map((notice) => <Notice key={notice} text={notice} onEnd={() => asking.dismiss(notice)} />)}
    </div>
  );
}

const NOTICE_MS = 6_000;

function Notice({ text, onEnd }: { readonly text: string; readonly onEnd: () => void }): JSX.Element {
  useEffect(() => after(NOTICE_MS, onEnd), []);
  return (
    <div class="notice">
      {text}<button type="button" aria-label="Dismiss" onClick={onEnd}><Icon name="close" size={14} /></button>
    </div>
  );
}

/** "/" goes to the search of the page, Escape leaves it; dialogs close by themselves. */
function useKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const { target } = event;
      const isTyping = target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
        const search = document.querySelector<HTMLInputElement>("[data-search]");
        if (search !== null) event.preventDefault();
        search?.focus();
      }
      if (event.key === "Escape" && isTyping && target.dataset["search"] !== undefined) target.blur();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/** A page that cannot be drawn leaves the others as they are. */
function Boundary({ children }: { readonly children: ComponentChildren }): JSX.Element {
  const error: unknown = useErrorBoundary()[0];
  if (error === undefined) return <>{children}</>;
  const reason = error instanceof Error ? error.message : "unknown";
  return (
    <div class="page">
      <Empty title="This page could not be drawn">
        The node answered with something that this page does not understand: {reason}. After an upgrade of the node
        load the page anew.
      </Empty>
    </div>
  );
}

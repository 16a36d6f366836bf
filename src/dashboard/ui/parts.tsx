// Owns: the small parts that every page is made of.
import type { ComponentChildren, JSX } from "preact";
import { agoText, lastingText } from "../core/format.ts";
import type { Tone } from "../core/quorum.ts";
import { useTime } from "./clock.ts";

export function Dot({ tone }: { readonly tone: Tone }): JSX.Element {
  return <span class={`dot ${tone}`} aria-hidden="true" />;
}

export function Badge({ tone, children }: { readonly tone: Tone; readonly children: ComponentChildren }): JSX.Element {
  return <span class={`badge ${tone}`}><Dot tone={tone} />{children}</span>;
}

export function Card(props: {
  readonly title?: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly children: ComponentChildren;
  readonly class?: string;
}): JSX.Element {
  const { title, aside, children } = props;
  return (
    <section class={`card ${props.class ?? ""}`}>
      {title !== undefined && <header class="card-head"><h2>{title}</h2>{aside}</header>}
      {children}
    </section>
  );
}

export function Tile(props: {
  readonly label: string;
  readonly value: ComponentChildren;
  readonly note?: ComponentChildren;
  readonly tone?: Tone;
}): JSX.Element {
  const { label, value, note, tone } = props;
  return (
    <div class={`tile ${tone === undefined ? "" : `edge-${tone}`}`}>
      <div class="tile-label">{label}</div>
      <div class="tile-value">{value}</div>
      <div class="tile-note">{note}</div>
    </div>
  );
}

export function PageHead(props: {
  readonly title: ComponentChildren;
  readonly note?: ComponentChildren;
  readonly children?: ComponentChildren;
}): JSX.Element {
  return (
    <header class="page-head">
      <div class="page-title"><h1>{props.title}</h1>{props.note !== undefined && <p>{props.note}</p>}</div>
      <div class="actions">{props.children}</div>
    </header>
  );
}

export function Button(props: {
  readonly onPress: () => void;
  readonly children: ComponentChildren;
  readonly kind?: "plain" | "main" | "danger" | "quiet";
  readonly isDisabled?: boolean;
  readonly label?: string;
}): JSX.Element {
  const { onPress, children, kind = "plain", isDisabled = false, label } = props;
  return (
    <button type="button" class={`button ${kind}`} onClick={onPress} disabled={isDisabled} aria-label={label}>
      {children}
    </button>
  );
}

export function Empty(props: { readonly title: string; readonly children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <strong>{props.title}</strong>
      {props.children !== undefined && <p>{props.children}</p>}
    </div>
  );
}

/** While the first answer is awaited: the shape of what comes, without a word. */
export function Loading({ rows = 4 }: { readonly rows?: number }): JSX.Element {
  return (
    <div class="loading" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => <div class="loading-row" key={row} />)}
    </div>
  );
}

export function Facts({ rows }: {
  readonly rows: readonly (readonly [name: string, value: ComponentChildren])[];
}): JSX.Element {
  return (
    <dl class="facts">
      {rows.filter(([, value]) => value !== undefined).map(([name, value]) =>
        <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  );
}

export function Code({ children }: { readonly children: ComponentChildren }): JSX.Element {
  return <code class="mono">{children}</code>;
}

/** A value as JSON. Text, never markup: what it says is anybody's. */
export function Json({ value }: { readonly value: unknown }): JSX.Element {
  const text = JSON.stringify(value, undefined, 2) ?? "nothing";
  const isCut = text.length > JSON_CHARACTERS_MAX;
  return (
    <>
      <pre class="json" tabIndex={0}>{isCut ? text.slice(0, JSON_CHARACTERS_MAX) : text}</pre>
      {isCut && <p class="note">the first {JSON_CHARACTERS_MAX} of {text.length} characters</p>}
    </>
  );
}

const JSON_CHARACTERS_MAX = 20_000;

export function Ago({ atMs }: { readonly atMs: number }): JSX.Element {
  const text = useTime((nowMs) => agoText(nowMs - atMs));
  return <time title={clockText(atMs)}>{text}</time>;
}

export function Lasting({ fromMs }: { readonly fromMs: number }): JSX.Element {
  return <span>{useTime((nowMs) => lastingText(nowMs - fromMs))}</span>;
}

/** `2026-01-31 12:00:00`, in the reader's own time. */
export function dateText(atMs: number): string {
  return clockText(atMs).slice(0, -4);
}

/** The same with milliseconds. */
export function clockText(atMs: number): string {
  const local = new Date(atMs - new Date(atMs).getTimezoneOffset() * MINUTE_MS);
  return local.toISOString().replace("T", " ").replace("Z", "");
}

const MINUTE_MS = 60_000;

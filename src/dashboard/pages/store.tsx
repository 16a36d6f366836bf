// Owns: the page of the store: keys under a prefix, and what one of them was before.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { AnswerError, ask, AS_HERE, query } from "../api.ts";
import type { EntryAnswer } from "../answers.ts";
import { plural, preview } from "../core/format.ts";
import { KeyBook } from "../live/key-book.ts";
import { useStore } from "../live/store.ts";
import { useAnswer } from "../live/use-answer.ts";
import { hrefOf, replacePlace } from "../route.ts";
import { Failure } from "../ui/failure.tsx";
import { Icon } from "../ui/icons.tsx";
import { Button, Card, Code, Empty, Facts, Json, Loading, PageHead } from "../ui/parts.tsx";
import { Search } from "../ui/search.tsx";
import { VirtualList } from "../ui/virtual-list.tsx";

const ROW_PX = 44;
const PREFIXES = ["data/", "blueprints/", "slices/", "endpoints/", "jobs/", "nodes/", "leader", "artifacts/", "routes/",
  "schedules/", "topics/"];
const EVERY_MS = 2_000;
/** Of a value, for who rests on its row. */
const TITLE_CHARACTERS = 1_000;

export function StorePage({ filters, selected }: {
  readonly filters: Readonly<Record<string, string>>;
  readonly selected: string | undefined;
}): JSX.Element {
  if (selected !== undefined) return <KeyPage key={selected} name={selected} />;
  return <KeysPage prefix={filters["prefix"] ?? "data/"} />;
}

function KeysPage({ prefix }: { readonly prefix: string }): JSX.Element {
  const book = useMemo(() => new KeyBook(prefix), [prefix]);
  useEffect(() => book.watch(), [book]);
  const { entries, more, isLoaded, failure } = useStore(book.shown);
  const note = `${plural(entries.length, "key")}${more ? ", and more" : ""}`;
  const go = (to: string): void => replacePlace(hrefOf(["store"], { prefix: to }));
  return (
    <div class="page fills">
      <PageHead title="Store" note={isLoaded && failure === undefined ? note : " "} />
      <div class="filters"><Search value={prefix} label="Keys that begin with" onValue={go} /></div>
      <div class="filters chips">{PREFIXES.map((name) => (
        <button key={name} type="button" class="chip" aria-pressed={prefix === name} onClick={() => go(name)}>
          {name}</button>
      ))}</div>
      {failure !== undefined && <Failure failure={failure} />}
      {(failure === undefined || entries.length > 0) && <Card class="fills-card">
        {!isLoaded && <Loading rows={8} />}
        {isLoaded && entries.length === 0 && <Empty title="No key begins like that">
          Keys of your own begin with data/: <code>aether kv put data/greeting '"hello"'</code></Empty>}
        {entries.length > 0 && (
          <VirtualList items={entries} rowPx={ROW_PX} order="kept" label="Keys" keyOf={({ key }) => key}
            hrefOf={({ key }) => hrefOf(["store", "key", key])}>
            {(entry) => <KeyLine entry={entry} />}
          </VirtualList>
        )}
        {more && <div class="card-body"><Button onPress={() => void book.loadMore()}>More keys</Button></div>}
      </Card>}
    </div>
  );
}

function KeyLine({ entry: { key, value, version } }: { readonly entry: EntryAnswer }): JSX.Element {
  return (
    <div class="row key-row">
      <span class="mono cut" title={key}>{key}</span>
      <span class="value mono muted cut" title={preview(value, TITLE_CHARACTERS)}>{preview(value)}</span>
      <span class="right muted hide-small">{version === 1 ? "" : `version ${version}`}</span>
    </div>
  );
}

/** `data/a b` as a path: what is between the slashes is encoded. */
function keyPath(key: string): string {
  return `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;
}

function KeyPage({ name }: { readonly name: string }): JSX.Element {
  const { data, failure } = useAnswer<EntryAnswer>(`${keyPath(name)}${query(AS_HERE)}`, EVERY_MS);
  const isGone = failure?.code === "E_NOT_FOUND";
  const parent = name.slice(0, name.lastIndexOf("/") + 1);
  return (
    <div class="page">
      <a class="back" href={hrefOf(["store"], { prefix: parent })}><Icon name="back" size={15} />{parent}</a>
      <PageHead title={<span class="mono">{name}</span>} />
      {isGone && <Card><Empty title="There is no such key now">It was deleted, or never was.</Empty></Card>}
      {failure !== undefined && !isGone && <Failure failure={failure} />}
      {data === undefined && failure === undefined && <Card><Loading /></Card>}
      {data !== undefined && !isGone && (
        <div class="split">
          <div class="stack">
            <Card title="Value"
              aside={<a class="link" href={keyPath(name)} target="_blank" rel="noreferrer">As JSON</a>}>
              <div class="card-body"><Json value={data.value} /></div></Card>
            <History key={data.modRevision} entry={data} />
          </div>
          <Card title="Facts"><div class="card-body"><Facts rows={[
            ["Version", String(data.version)],
            ["Changed", `in revision ${data.modRevision}`],
            ["Created", `in revision ${data.createRevision}`],
            ["Lease", data.lease === undefined ? undefined : <Code>{data.lease}</Code>],
          ]} /></div></Card>
        </div>
      )}
    </div>
  );
}

const STEP = 10;

interface Past {
  readonly entries: readonly EntryAnswer[];
  readonly end: "more" | "created" | "forgotten";
  readonly failure?: AnswerError;
}

/** One read for each version before: every node can answer them for as long as it holds the changes since. */
function History({ entry }: { readonly entry: EntryAnswer }): JSX.Element | null {
  const [past, setPast] = useState<Past>({ entries: [], end: entry.version === 1 ? "created" : "more" });
  const [isReading, setReading] = useState(false);
  const read = async (): Promise<void> => {
    setReading(true);
    setPast(await readPast(entry, past.entries));
    setReading(false);
  };
  useEffect(() => void (past.end === "more" && read()), []);
  if (entry.version === 1) return null;
  return (
    <Card title="Before" aside={<span class="note">{plural(entry.version - 1, "version")} before this one</span>}>
      {past.entries.map((before) => (
        <div class="ask" key={before.modRevision}>
          <p class="note">version {before.version}, revision {before.modRevision}</p>
          <Json value={before.value} />
        </div>
      ))}
      {past.failure !== undefined && <Failure failure={past.failure} />}
      {past.end === "forgotten" && <p class="note card-body">What was before is not held any more: a node keeps the last
        100,000 revisions, or 256 MiB of changes.</p>}
      {past.end === "more" && <div class="card-body">
        <Button onPress={() => void (isReading || read())}>
          {isReading ? "Reading…" : "Earlier versions"}</Button></div>}
    </Card>
  );
}

async function readPast(entry: EntryAnswer, known: readonly EntryAnswer[]): Promise<Past> {
  const entries = [...known];
  for (let step = 0; step < STEP; step++) {
    const { key, modRevision, version } = entries.at(-1) ?? entry;
    if (version === 1) return { entries, end: "created" };
    try {
      entries.push(await ask<EntryAnswer>(`${keyPath(key)}${query({ revision: modRevision - 1, ...AS_HERE })}`));
    } catch (failure) {
      if (!(failure instanceof AnswerError)) throw failure;
      return failure.code === "E_COMPACTED" ? { entries, end: "forgotten" } : { entries, end: "more", failure };
    }
  }
  return { entries, end: (entries.at(-1)?.version ?? 1) === 1 ? "created" : "more" };
}

// Owns: the page of what should run and what does: blueprints, their slices, instances, rollouts, logs.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type AnswerError, ask, AS_HERE, query, segment } from "../api.ts";
import type { BlueprintAnswer, InstanceAnswer, LogAnswer, RolloutAnswer, SliceAnswer } from "../answers.ts";
import { plural } from "../core/format.ts";
import { instanceTone, type Tone } from "../core/quorum.ts";
import { useAnswer } from "../live/use-answer.ts";
import { hrefOf, replacePlace } from "../route.ts";
import { useAsking, type Asking } from "../ui/dialog.tsx";
import { Failure } from "../ui/failure.tsx";
import { Icon } from "../ui/icons.tsx";
import { Ago, Badge, Button, Card, clockText, Code, Empty, Loading, PageHead } from "../ui/parts.tsx";
import { Search } from "../ui/search.tsx";

const EVERY_MS = 2_000;
/** Between two requests of the page, however many blueprints it shows. */
const BETWEEN_MS = 200;
/** A blueprint that does not have the slice of the page may get it. */
const ELSEWHERE_MS = 30_000;
/** Beyond it shares are easier to read than boxes to count. */
const BOXES_MAX = 16;
/** Rows of instances, the troubled ones first; the others are shown when asked for. */
const INSTANCE_ROWS = 100;
const LOG_EVERY_MS = 1_000;
const LOG_LINES = 300;

interface BlueprintsAnswer {
  readonly blueprints: readonly { readonly name: string; readonly revision?: number; readonly damage?: string }[];
}

export function SlicesPage({ slice, filters }: {
  readonly slice: string | undefined;
  readonly filters: Readonly<Record<string, string>>;
}): JSX.Element {
  const { data, failure } = useAnswer<BlueprintsAnswer>(`/v1/blueprints${query(AS_HERE)}`, EVERY_MS);
  const text = filters["text"] ?? "";
  if (slice !== undefined) {
    return <SlicePage slice={slice} blueprints={data?.blueprints.map(({ name }) => name)} failure={failure} />;
  }
  return (
    <div class="page">
      <PageHead title="Slices" note={data === undefined ? " " : plural(data.blueprints.length, "blueprint")} />
      {data !== undefined && data.blueprints.length > 0 && <div class="filters">
        <Search value={text} label="Find a slice" onValue={(to) => replacePlace(hrefOf(["slices"], { text: to }))} />
      </div>}
      {failure !== undefined && <Failure failure={failure} />}
      {data === undefined && failure === undefined && <Card><Loading /></Card>}
      {data?.blueprints.length === 0 && <Card><Empty title="Nothing is to run yet">
        A blueprint says which slices run, and how many of each. Apply one
        with <code>aether blueprint apply</code>.</Empty></Card>}
      {data?.blueprints.map(({ name, damage }) => (damage === undefined
        ? <Blueprint key={name} name={name} text={text} everyMs={pauseFor(data.blueprints.length)} />
        : <Card key={name} title={name}><Empty title="This blueprint cannot be read">{damage}</Empty></Card>))}
    </div>
  );
}

function statusPath(blueprint: string): string {
  return `/v1/blueprints/${segment(blueprint)}/status${query(AS_HERE)}`;
}

/** Until a blueprint is asked for again. */
function pauseFor(blueprints: number): number {
  return Math.max(EVERY_MS, blueprints * BETWEEN_MS);
}

/** With the slices that have `text` in their name; nothing when it has none of them. */
function Blueprint({ name, text, everyMs }: {
  readonly name: string;
  readonly text: string;
  readonly everyMs: number;
}): JSX.Element | null {
  const asking = useAsking();
  const { data, failure, refresh } = useAnswer<BlueprintAnswer>(statusPath(name), everyMs);
  const slices = Object.entries(data?.slices ?? {}).filter(([slice]) => slice.includes(text));
  if (text !== "" && slices.length === 0) return null;
  return (
    <Card title={<>{name} {data !== undefined && <span class="tag">revision {data.revision}</span>}</>}
      aside={data !== undefined && data.revision > 1 &&
        <Button kind="quiet" onPress={() => askRollback(asking, name, refresh)}>Roll back</Button>}>
      {failure !== undefined && <Failure failure={failure} />}
      {data === undefined && failure === undefined && <Loading rows={3} />}
      {data !== undefined && <div class="table-wrap"><table class="slice-lines">
        <thead><tr><th class="name">Slice</th><th>Instances</th><th class="hide-small">Version</th><th>State</th><th />
        </tr></thead>
        <tbody>{slices.map(([slice, status]) =>
          <SliceLine key={slice} slice={slice} status={status} refresh={refresh} />)}</tbody>
      </table></div>}
    </Card>
  );
}

function SliceLine({ slice, status, refresh }: {
  readonly slice: string;
  readonly status: SliceAnswer;
  readonly refresh: () => void;
}): JSX.Element {
  const asking = useAsking();
  const [tone, text] = stateOf(status);
  return (
    <tr>
      <td class="name"><a href={hrefOf(["slices", slice])} class="link"><strong>{slice}</strong></a>
        <StateNote status={status} /></td>
      <td>{status.want === 0 && status.instances.length === 0 ? <span class="muted">none wanted</span> : <>
        <div class="nowrap">{status.active} of {status.want}</div><InstanceBoxes status={status} /></>}</td>
      <td class="mono muted hide-small">{status.artifact}</td>
      <td><Badge tone={tone}>{text}</Badge></td>
      <td class="right">
        <Button kind="quiet" onPress={() => askScale(asking, slice, status, refresh)}>Scale</Button></td>
    </tr>
  );
}

function stateOf(status: SliceAnswer): readonly [Tone, string] {
  if (status.instances.some(({ state }) => instanceTone(state) === "bad")) return ["bad", "failing"];
  if (status.unplaced !== undefined) return ["warn", "not placed"];
  if (isMoving(status.rollout)) return ["busy", status.rollout?.stage ?? "rollout"];
  if (status.want === 0) return status.instances.length === 0 ? ["idle", "agents only"] : ["busy", "stopping"];
  if (status.active >= status.want) return ["good", "serving"];
  return status.active === 0 ? ["warn", "starting"] : ["busy", "scaling"];
}

function isMoving(rollout: RolloutAnswer | undefined): boolean {
  return rollout !== undefined && rollout.stage !== "done" && rollout.stage !== "rolled-back";
}

const UNPLACED: Readonly<Record<string, string>> = {
  "no-node": "no node is on duty", labels: "no node has the labels", capacity: "no node has the memory left",
};

function StateNote({ status }: { readonly status: SliceAnswer }): JSX.Element | null {
  const { unplaced, waitsFor, instances, rollout } = status;
  const broken = instances.find(({ error }) => error !== undefined);
  const notes = [
    unplaced && `${unplaced.count} not placed: ${UNPLACED[unplaced.reason] ?? unplaced.reason}`,
    waitsFor === undefined || waitsFor.length === 0 ? undefined : `loaded after ${waitsFor.join(", ")}`,
    broken?.error?.message,
    rollout?.reason === undefined ? undefined : `rolled back: ${rollout.reason}`,
    rollout?.waitsFor?.isLate === true ? `waits: ${rollout.waitsFor.message}` : undefined,
  ].filter((note) => note !== undefined);
  return notes.length === 0 ? null : <div class="note">{notes.join("; ")}</div>;
}

/** One for each instance that there is, and an empty one for each that should be; of many, their shares. */
function InstanceBoxes({ status }: { readonly status: SliceAnswer }): JSX.Element {
  const { want, instances } = status;
  const missing = Math.max(0, want - instances.length);
  if (instances.length + missing > BOXES_MAX) return <InstanceShares status={status} missing={missing} />;
  return (
    <div class="boxes">
      {instances.map((instance) => <span key={idOf(instance)} class={`box ${instanceTone(instance.state)}`}
        title={`${instance.artifact} on ${instance.node}: ${instance.state}`} />)}
      {Array.from({ length: missing }, (_, at) => <span key={at} class="box missing" title="wanted, not there" />)}
    </div>
  );
}

function InstanceShares({ status: { instances }, missing }: {
  readonly status: SliceAnswer;
  readonly missing: number;
}): JSX.Element {
  const counts = new Map<string, { readonly tone: string; count: number }>();
  for (const { state } of instances) {
    const share = counts.get(state) ?? { tone: instanceTone(state), count: 0 };
    share.count += 1;
    counts.set(state, share);
  }
  if (missing > 0) counts.set("not there", { tone: "missing", count: missing });
  const shares = [...counts];
  const text = shares.map(([state, { count }]) => `${count} ${state.toLowerCase()}`).join(", ");
  return (
    <>
      <div class="shares" aria-hidden="true">{shares.map(([state, { tone, count }]) =>
        <span key={state} class={`box ${tone}`} style={{ flexGrow: count }} />)}</div>
      {shares.length > 1 && <div class="note">{text}</div>}
    </>
  );
}

function idOf({ artifact, node, instance }: InstanceAnswer): string {
  return `${artifact}/${node}/${instance}`;
}

function SlicePage({ slice, blueprints, failure }: {
  readonly slice: string;
  readonly blueprints: readonly string[] | undefined;
  readonly failure: AnswerError | undefined;
}): JSX.Element {
  return (
    <div class="page">
      <a class="back" href={hrefOf(["slices"])}><Icon name="back" size={15} />Slices</a>
      <PageHead title={slice} />
      {failure !== undefined && <Failure failure={failure} />}
      {blueprints === undefined && failure === undefined && <Card><Loading /></Card>}
      {blueprints?.map((name) => <SliceOf key={name} blueprint={name} slice={slice} />)}
      <SliceLog slice={slice} />
    </div>
  );
}

/** The blueprint may be another slice's: then it has nothing to show. */
function SliceOf({ blueprint, slice }: { readonly blueprint: string; readonly slice: string }): JSX.Element | null {
  const [everyMs, setEveryMs] = useState(EVERY_MS);
  const { data } = useAnswer<BlueprintAnswer>(statusPath(blueprint), everyMs);
  const status = data?.slices[slice];
  const isElsewhere = data !== undefined && status === undefined;
  useEffect(() => setEveryMs(isElsewhere ? ELSEWHERE_MS : EVERY_MS), [isElsewhere]);
  if (status === undefined) return null;
  const [tone, text] = stateOf(status);
  return (
    <>
      {status.rollout !== undefined && <Rollout rollout={status.rollout} />}
      <Card title={<>Instances <Badge tone={tone}>{text}</Badge></>}
        aside={<span class="note">{status.active} of {status.want}, from {blueprint}</span>}>
        <StateNoteBlock status={status} />
        {status.instances.length === 0
          ? <Empty title="No instance">
              {status.want === 0 ? "Agents need none: a job starts a worker where it runs." : "None is placed yet."}
            </Empty>
          : <Instances instances={status.instances} />}
      </Card>
    </>
  );
}

function Instances({ instances }: { readonly instances: readonly InstanceAnswer[] }): JSX.Element {
  const [showsAll, showAll] = useState(false);
  const sorted = [...instances].sort(byNeed);
  const rows = showsAll ? sorted : sorted.slice(0, INSTANCE_ROWS);
  return (
    <>
      <div class="table-wrap tall" tabIndex={0}><table>
        <thead><tr><th>Instance</th><th>State</th><th class="hide-small">Version</th><th class="right">Since</th></tr>
        </thead>
        <tbody>{rows.map((instance) => (
          <tr key={idOf(instance)}>
            <td class="nowrap"><strong>{instance.node}</strong> <span class="muted">#{instance.instance}</span></td>
            <td><Badge tone={instanceTone(instance.state)}>{instance.state.toLowerCase()}</Badge>
              {instance.error !== undefined && <div class="note">{instance.error.message}</div>}</td>
            <td class="mono muted hide-small">{instance.artifact}</td>
            <td class="right muted nowrap">{(instance.since ?? 0) > 0 && <Ago atMs={instance.since ?? 0} />}</td>
          </tr>))}</tbody>
      </table></div>
      {rows.length < sorted.length && <div class="card-body">
        <Button onPress={() => showAll(true)}>{`All ${sorted.length} instances`}</Button></div>}
    </>
  );
}

/** Those in trouble first, then those under way, then by node and number. */
function byNeed(a: InstanceAnswer, b: InstanceAnswer): number {
  const need = ({ state }: InstanceAnswer): number => NEEDS.indexOf(instanceTone(state));
  return need(b) - need(a) || (a.node === b.node ? a.instance - b.instance : a.node < b.node ? -1 : 1);
}

const NEEDS: readonly Tone[] = ["good", "idle", "busy", "warn", "bad"];

function StateNoteBlock({ status }: { readonly status: SliceAnswer }): JSX.Element | null {
  if (status.unplaced === undefined && (status.waitsFor ?? []).length === 0) return null;
  return <div class="card-body"><StateNote status={status} /></div>;
}

const STAGE_TONES: Readonly<Record<string, Tone>> = { done: "good", "rolled-back": "bad", "rolling-back": "warn" };

function Rollout({ rollout }: { readonly rollout: RolloutAnswer }): JSX.Element {
  const { strategy, stage, from, to, targetPercent, since, reason, waitsFor } = rollout;
  return (
    <Card title={<>Rollout <Badge tone={STAGE_TONES[stage] ?? "busy"}>{stage}</Badge></>}
      aside={<span class="note">{strategy}, <Ago atMs={since} /></span>}>
      <div class="card-body stack" style={{ gap: "8px" }}>
        <div><Code>{from.artifact}</Code> <span class="muted">→</span> <Code>{to.artifact}</Code></div>
        {targetPercent !== undefined && <>
          <div class="meter"><div style={{ width: `${targetPercent}%` }} /></div>
          <p class="note">{targetPercent}% of the calls go to the new version</p></>}
        {waitsFor !== undefined && <p class={waitsFor.isLate ? "bad-text" : "note"}>waits: {waitsFor.message}</p>}
        {reason !== undefined && <p class="bad-text">{reason}</p>}
      </div>
    </Card>
  );
}

function SliceLog({ slice }: { readonly slice: string }): JSX.Element {
  const { data, failure } = useAnswer<LogAnswer>(
    `/v1/slices/${segment(slice)}/log${query({ nodes: "all", limit: LOG_LINES })}`, LOG_EVERY_MS,
  );
  const box = useRef<HTMLDivElement>(null);
  const [isFollowing, setFollowing] = useState(true);
  useEffect(() => {
    if (isFollowing && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [data, isFollowing]);
  const silent = data?.silent.join(", ");
  if (failure?.code === "E_NOT_FOUND") {
    return <Card><Empty title="There is no such slice now">No blueprint has one of this name.</Empty></Card>;
  }
  return (
    <Card title="Log" aside={<span class="note">{isFollowing ? "what its instances say on all nodes"
      : <Button kind="quiet" onPress={() => setFollowing(true)}>To the newest</Button>}</span>}>
      {failure !== undefined && <Failure failure={failure} />}
      {data === undefined && failure === undefined && <Loading rows={3} />}
      {silent !== undefined && silent !== "" && <p class="note card-body">Without {silent}: no answer from there.</p>}
      {data?.lines.length === 0 && <Empty title="Nothing was said">
        What instances log is kept by their nodes until they restart, the latest 500 lines of each.</Empty>}
      {data !== undefined && data.lines.length > 0 && <div class="card-body">
        <div class="log" ref={box} tabIndex={0} onScroll={({ currentTarget }) => setFollowing(isAtEnd(currentTarget))}>
          {data.lines.map(({ node, at, instance, level, text, fields }, index) =>
            <div key={`${at}-${index}`}>
              <span class="at">{clockText(at).slice(11)} {node}/{instance.split("/").at(-1)}</span>{" "}
              <span class={level}>{level}</span> {text}
              {fields !== undefined && <LogFields said={fields} />}</div>)}
        </div></div>}
    </Card>
  );
}

/** What was said beside the text; a stack on lines of its own, as it was made. */
function LogFields({ said }: { readonly said: NonNullable<LogAnswer["lines"][number]["fields"]> }): JSX.Element {
  const { fields, ...ofNode } = said;
  const { stack, ...rest }: Readonly<Record<string, unknown>> = { ...ofNode, ...(fields ?? {}) };
  return (
    <span class="at">
      {Object.keys(rest).length > 0 && ` ${JSON.stringify(rest)}`}
      {stack !== undefined && `\n${typeof stack === "string" ? stack : JSON.stringify(stack)}`}
    </span>
  );
}

function isAtEnd({ scrollTop, scrollHeight, clientHeight }: Element): boolean {
  return scrollTop + clientHeight >= scrollHeight - 4;
}

function askScale(asking: Asking, slice: string, { want }: SliceAnswer, done: () => void): void {
  asking.ask({
    title: `Scale ${slice}`,
    text: "A new revision of its blueprint, with another number of instances.",
    fields: [{ name: "instances", label: "Instances", kind: "number", value: String(want) }],
    action: "Scale",
    again: "harmless",
    run: async ({ instances }) => {
      const body = { instances: Number(instances) };
      const path = `/v1/slices/${segment(slice)}/scale`;
      const made = await ask<{ readonly revision: number }>(path, { method: "POST", body });
      done();
      return `${slice} is to have ${instances}, as revision ${made.revision}`;
    },
  });
}

function askRollback(asking: Asking, name: string, done: () => void): void {
  asking.ask({
    title: `Roll ${name} back?`,
    text: "Its newest revision that differs becomes current again, as a new one. Instances are replaced as with any " +
      "other change.",
    action: "Roll back",
    again: "twice",
    kind: "danger",
    run: async () => {
      const path = `/v1/blueprints/${segment(name)}/rollback`;
      const { rolledBackTo, revision } =
        await ask<{ readonly rolledBackTo: number; readonly revision: number }>(path, { method: "POST", body: {} });
      done();
      return `${name} is as in revision ${rolledBackTo}, now revision ${revision}`;
    },
  });
}

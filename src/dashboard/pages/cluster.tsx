// Owns: the page of the cluster: can it lose a node, who leads, what is wrong, how far everybody is.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, segment } from "../api.ts";
import type { AlertsAnswer, Cluster, ClusterNode } from "../answers.ts";
import { countText, durationText, plural, shortNumber } from "../core/format.ts";
import { nodeTone, quorumVerdict } from "../core/quorum.ts";
import type { ClusterSample } from "../live/cluster-feed.ts";
import { useStore } from "../live/store.ts";
import { useFeed } from "../live/use-answer.ts";
import { useSession } from "../session.tsx";
import type { ChartColor } from "../ui/chart.tsx";
import { type Asking } from "../ui/dialog.tsx";
import { Icon } from "../ui/icons.tsx";
import { Ago, Badge, Button, Card, Code, Lasting, PageHead, Tile } from "../ui/parts.tsx";
import { SeriesChart, type SeriesLine } from "../ui/series-chart.tsx";

export function ClusterPage(): JSX.Element | null {
  const { feed, asking } = useSession();
  const cluster = useStore(feed.cluster);
  const samples = useStore(feed.samples);
  if (cluster === undefined) return null;
  const verdict = quorumVerdict(cluster.quorum, cluster.voters.length);
  return (
    <div class="page">
      <PageHead title={cluster.cluster} note={`${plural(cluster.nodes.length, "node")}, seen through ${cluster.node}`}>
        {cluster.canBeKilled === true &&
          <Button kind="danger" onPress={() => askKill(asking, cluster)}>
            <Icon name="skull" size={16} />Kill this node</Button>}
      </PageHead>
      <div class="tiles">
        <Tile label="Quorum" value={<Pips cluster={cluster} />} note={verdict.text}
          {...(verdict.tone === "idle" ? {} : { tone: verdict.tone })} />
        <Tile label="Leader" value={cluster.leader?.node ?? "none"}
          note={cluster.leader === null ? "nobody places or moves instances now" : `epoch ${cluster.leader.epoch}`}
          {...(cluster.leader === null ? { tone: "warn" as const } : {})} />
        <Tile label="Revision" value={countText(cluster.revision)} note={`${rateText(samples)} changes a second`} />
        <Tile label="Log" value={countText(cluster.slots.applied)}
          note={behindText(cluster.slots.decided - cluster.slots.applied)} />
      </div>
      <Alerts />
      <Differences cluster={cluster} />
      <Card title="Nodes"><NodeTable cluster={cluster} /></Card>
      <ClusterCharts cluster={cluster} />
    </div>
  );
}

function Pips({ cluster: { quorum, voters } }: { readonly cluster: Cluster }): JSX.Element {
  return (
    <span class="pips">
      {voters.map((voter, at) => <span key={voter} class={`pip ${at < quorum.have ? "good" : "bad"}`} />)}
      <span style={{ marginLeft: "6px" }}>{quorum.have} of {voters.length}</span>
    </span>
  );
}

function behindText(slots: number): string {
  return slots <= 0 ? "slots applied, none behind" : `slots applied, ${plural(slots, "slot")} behind`;
}

const RATE_OVER = 5;

function rateText(samples: readonly ClusterSample[]): string {
  const last = samples.at(-1);
  const first = samples.at(-1 - RATE_OVER) ?? samples[0];
  if (last === undefined || first === undefined || last === first) return "0";
  const rate = Math.max(0, (last.revision - first.revision) / ((last.atMs - first.atMs) / 1_000));
  return rate < 100 ? rate.toFixed(1) : shortNumber(rate);
}

const ALERTS_EVERY_MS = 2_000;

type Alert = AlertsAnswer["alerts"][number];

function Alerts(): JSX.Element {
  const { data } = useFeed(useSession().alerts, ALERTS_EVERY_MS);
  // Its place is kept before the first answer: the nodes below do not move when it comes.
  const { alerts, judged } = data ?? { alerts: undefined, judged: null };
  return (
    <Card title="Alerts" aside={data !== undefined && <span class="note">{judgedText(judged)}</span>}>
      {alerts === undefined && <p class="card-body">&nbsp;</p>}
      {alerts?.length === 0 && <p class="card-body muted">No alert fires.</p>}
      {alerts !== undefined && alerts.length > 0 && <AlertTable alerts={[...alerts].sort(newestFirst)} />}
    </Card>
  );
}

function judgedText(judged: AlertsAnswer["judged"]): string {
  if (judged === null) return "nobody has judged the cluster yet";
  return judged.isStale ? `judged ${durationText(judged.ageMs)} ago by ${judged.by}, and by nobody since` : "";
}

/** Errors first; of them what has just begun, which says more than what has been known for an hour. */
function newestFirst(a: Alert, b: Alert): number {
  const rank = ({ severity }: Alert): number => (severity === "error" ? 0 : 1);
  return rank(a) - rank(b) || b.sinceMs - a.sinceMs;
}

/** The others are shown when asked for: one cause has many effects, and the nodes are below. */
const ALERT_ROWS = 5;

function AlertTable({ alerts }: Pick<AlertsAnswer, "alerts">): JSX.Element {
  const [showsAll, showAll] = useState(false);
  const rows = showsAll ? alerts : alerts.slice(0, ALERT_ROWS);
  return (
    <div class="table-wrap">
      <table aria-label="Alerts" class="alerts">
        <thead><tr><th>Severity</th><th>What is wrong, and what to do</th><th class="right">For</th></tr></thead>
        <tbody>{rows.map(({ id, severity, sinceMs, text, action }) => (
          <tr key={id}>
            <td><Badge tone={severity === "error" ? "bad" : "warn"}>{severity}</Badge></td>
            <td><div><strong>{text}</strong></div><span class="note"><WithCode text={action} /></span></td>
            <td class="right muted nowrap"><Lasting fromMs={sinceMs} /></td>
          </tr>
        ))}</tbody>
      </table>
      {rows.length < alerts.length && <div class="card-body">
        <Button onPress={() => showAll(true)}>{`All ${alerts.length} alerts`}</Button></div>}
    </div>
  );
}

/** What stands between backticks is typed as it is. */
function WithCode({ text }: { readonly text: string }): JSX.Element {
  return <>{text.split("`").map((part, at) => (at % 2 === 1 ? <Code key={at}>{part}</Code> : part))}</>;
}

function Differences({ cluster: { differences } }: { readonly cluster: Cluster }): JSX.Element | null {
  if (differences.length === 0) return null;
  return (
    <Card title="Settings that differ and must not">
      <ul class="card-body">
        {differences.map(({ setting, values }) => (
          <li key={setting}>
            <code>{setting}</code>: {values.map(({ node, value }) => `${node} has ${value}`).join(", ")}</li>
        ))}
      </ul>
    </Card>
  );
}

function NodeTable({ cluster }: { readonly cluster: Cluster }): JSX.Element {
  const hasLabels = cluster.nodes.some(({ labels }) => Object.keys(labels).length > 0);
  return (
    <div class="table-wrap">
      <table class="nodes">
        <thead><tr>
          <th>Node</th><th>State</th><th class="right">Instances</th><th class="right">Behind</th>
          <th class="hide-small">Seen</th>{hasLabels && <th class="hide-small">Labels</th>}<th /></tr></thead>
        <tbody>{cluster.nodes.map((node) =>
          <NodeLine key={node.id} node={node} cluster={cluster} hasLabels={hasLabels} />)}</tbody>
      </table>
    </div>
  );
}

function NodeLine({ node, cluster, hasLabels }: {
  readonly node: ClusterNode;
  readonly cluster: Cluster;
  readonly hasLabels: boolean;
}): JSX.Element {
  const { asking } = useSession();
  const isSelf = node.id === cluster.node;
  const isDraining = node.status === "draining" || node.status === "drained";
  return (
    <tr class={isSelf ? "self" : ""}>
      <td>
        <div><strong>{node.id}</strong>{" "}
          {node.id === cluster.leader?.node && <span class="tag">leader</span>}{" "}
          {isSelf && <span class="tag">this page</span>}</div>
        <NodeAddress node={node} isSelf={isSelf} />
      </td>
      <td><Badge tone={nodeTone(node.status)}>{node.status}</Badge>{" "}
        <span class="muted hide-small">{node.isLost ? "disk lost" : node.role}</span></td>
      <td class="right" data-unit="instances">{node.instances}</td>
      <td class="right" data-unit={node.slotsBehind === 1 ? "slot behind" : "slots behind"}>{lagText(node)}</td>
      <td class="muted hide-small nowrap"><LastSeen node={node} isSelf={isSelf} /></td>
      {hasLabels && <td class="hide-small">{Object.entries(node.labels).map(([name, value]) =>
        <span class="tag" key={name}>{name}={value}</span>)}</td>}
      <td class="right">
        {node.status !== "gone" && (isDraining
          ? <Button kind="quiet" onPress={() => askUndrain(asking, node.id)}>Back on duty</Button>
          : <Button kind="quiet" onPress={() => askDrain(asking, node.id)}>Drain</Button>)}
      </td>
    </tr>
  );
}

interface OfNode {
  readonly node: ClusterNode;
  readonly isSelf: boolean;
}

function LastSeen({ node: { lastSeenMs }, isSelf }: OfNode): JSX.Element {
  if (isSelf) return <>now</>;
  return lastSeenMs === null ? <>not yet</> : <Ago atMs={lastSeenMs} />;
}

/** Another node's page. Only an address of HTTP becomes a link: it comes from that node. */
function NodeAddress({ node: { address }, isSelf }: OfNode): JSX.Element {
  const shown = address?.replace(/^http:\/\//, "") ?? "not heard of";
  return address === null || isSelf || !address.startsWith("http://")
    ? <span class="note">{shown}</span>
    : <a class="note link" href={`${address}/${location.hash}`}>{shown}</a>;
}

function lagText({ slotsBehind, catchUp }: ClusterNode): string {
  if (catchUp !== null) return `${shortNumber(catchUp.slotsBehind)}, by ${catchUp.kind}`;
  return slotsBehind === null ? "—" : shortNumber(slotsBehind);
}

function askDrain(asking: Asking, node: string): void {
  asking.ask({
    title: `Drain ${node}?`,
    text: "It gets no new instances, and those it has leave once others serve in their place. It goes on voting.",
    action: "Drain",
    again: "harmless",
    run: async () => {
      await ask(`/v1/nodes/${segment(node)}/drain`, { method: "POST" });
      return `${node} is asked to drain`;
    },
  });
}

function askUndrain(asking: Asking, node: string): void {
  asking.ask({
    title: `Put ${node} back on duty?`,
    text: "It may be given instances again.",
    action: "Back on duty",
    again: "harmless",
    run: async () => {
      await ask(`/v1/nodes/${segment(node)}/drain`, { method: "DELETE" });
      return `${node} is wanted on duty`;
    },
  });
}

function askKill(asking: Asking, { node, quorum }: Cluster): void {
  const after = quorum.canLose > 0
    ? "The others go on: jobs that it runs are taken over, and this page moves to one of them."
    : "The others are too few to go on: nothing can be changed until it is started again.";
  asking.ask({
    title: `Kill ${node}?`,
    text: <>Its process ends at once, as in a crash: no goodbye, nothing flushed. {after}</>,
    action: `Kill ${node}`,
    again: "harmless",
    kind: "danger",
    run: async () => {
      await ask(`/v1/nodes/${segment(node)}/kill`, { method: "POST" });
      return `${node} was killed`;
    },
  });
}

const NODE_COLORS: readonly ChartColor[] = ["accent", "good", "doubt", "warn", "bad", "muted"];

/** One line for each node, as many as can be told apart. */
function ofEachNode(cluster: Cluster, fact: string): readonly SeriesLine[] {
  return cluster.nodes.slice(0, NODE_COLORS.length).map(({ id }, at) =>
    ({ series: `node/${id}/${fact}`, name: id, color: NODE_COLORS[at] ?? "muted" }));
}

function ClusterCharts({ cluster }: { readonly cluster: Cluster }): JSX.Element {
  return (
    <div class="grid-2">
      <Card title="Slots of the log a second"><div class="card-body">
        <SeriesChart lines={[{ series: "cluster/slotsPerSecond", name: "slots", color: "accent" }]} />
      </div></Card>
      <Card title="CPU, cores in use"><div class="card-body">
        <SeriesChart lines={ofEachNode(cluster, "cpuCores")} />
      </div></Card>
      <Card title="Longest wait for the event loop"><div class="card-body">
        <SeriesChart lines={ofEachNode(cluster, "loopDelayMsMax")} unit=" ms" />
      </div></Card>
      <Card title="Memory of the process"><div class="card-body">
        <SeriesChart lines={ofEachNode(cluster, "rssBytes")} scale={1 / MIB} unit=" MiB" />
      </div></Card>
    </div>
  );
}

const MIB = 1_048_576;

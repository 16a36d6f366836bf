// Owns: what `GET /v1/cluster` answers, as the commands read it, and how it is shown to people.
import { z } from "zod";
import { table } from "./table.ts";

const nodeSchema = z.object({
  id: z.string(),
  role: z.string(),
  isLost: z.boolean(),
  status: z.string(),
  instances: z.number(),
  // Nodes of a build before do not say.
  jobs: z.number().nullable().default(null),
  directory: z.string().nullable().default(null),
  address: z.string().nullable(),
  labels: z.record(z.string(), z.string()),
  lastSeenMs: z.number().nullable(),
  slotsBehind: z.number().nullable(),
  catchUp: z
    .object({ kind: z.enum(["log", "snapshot"]), slotsBehind: z.number(), bytesReceived: z.number() })
    .nullable(),
  supportedVersion: z.number().nullable(),
});

const differenceSchema = z.object({
  setting: z.string(),
  values: z.array(z.object({ node: z.string(), value: z.number() })),
});

export const clusterSchema = z.object({
  cluster: z.string(),
  node: z.string(),
  version: z.number(),
  nodes: z.array(nodeSchema),
  // Nodes of a build before do not say.
  differences: z.array(differenceSchema).default([]),
  voters: z.array(z.string()),
  pending: z.object({ voters: z.array(z.string()), rulesFromSlot: z.number() }).nullable(),
  leader: z.object({ node: z.string(), epoch: z.number() }).nullable(),
  quorum: z.object({ need: z.number(), have: z.number(), canLose: z.number() }),
  slots: z.object({ decided: z.number(), applied: z.number() }),
  revision: z.number(),
});

export type ClusterStatus = z.output<typeof clusterSchema>;
export type ClusterStatusNode = z.output<typeof nodeSchema>;

const MIB_BYTES = 1_048_576;

export function clusterText(view: ClusterStatus): string {
  const { slots } = view;
  const rows = view.nodes.map((node) => nodeCells(node, view));
  return [
    `cluster ${view.cluster} at version ${view.version}, seen by ${view.node}: ${quorumText(view)}`,
    `log: ${slots.decided} slots decided, ${slots.applied} applied; store at revision ${view.revision}`,
    ...notices(view),
    "",
    table(["NODE", "ROLE", "STATUS", "INSTANCES", "LAG", "LEADER", "VERSION", "API", "LABELS"], rows),
  ].join("\n");
}

/** For example `quorum 2 of 3, can lose 1`. */
function quorumText({ quorum, voters }: ClusterStatus): string {
  const { need, have, canLose } = quorum;
  if (have < need) return `NO QUORUM, sees ${have} of ${voters.length} voters and needs ${need}`;
  return `quorum ${need} of ${voters.length}, can lose ${canLose}`;
}

function notices({ quorum, voters, pending, nodes, differences }: ClusterStatus): readonly string[] {
  const lines: string[] = [];
  if (pending !== null) {
    lines.push(`a change is under way: from slot ${pending.rulesFromSlot} the voters are ${pending.voters.join(", ")}`);
  }
  if (voters.length === 2) {
    lines.push("warning: of two voters none may fail; let a third node join and promote it");
  } else if (quorum.have >= quorum.need && quorum.canLose === 0 && voters.length > 2) {
    lines.push("warning: no other voter may fail; start the missing ones, or replace those that are lost");
  }
  for (const { id } of nodes.filter(({ isLost }) => isLost)) {
    lines.push(`${id} is declared lost: start it with an empty data directory and \`join\``);
  }
  return [...lines, ...differences.map(differenceText)];
}

/** For example `warning: deployment.loadingMsMax is 60000 on n1, n2 and 120000 on n3: make it equal on all nodes`. */
function differenceText({ setting, values }: ClusterStatus["differences"][number]): string {
  const nodesByValue = new Map<number, string[]>();
  for (const { node, value } of values) nodesByValue.set(value, [...(nodesByValue.get(value) ?? []), node]);
  const parts = [...nodesByValue].map(([value, on]) => `${value} on ${on.join(", ")}`);
  return `warning: ${setting} is ${parts.join(" and ")}: make it equal on all nodes`;
}

function nodeCells(node: ClusterStatusNode, view: ClusterStatus): readonly string[] {
  return [
    node.id,
    node.isLost ? `${node.role}, lost` : node.role,
    node.status,
    String(node.instances),
    lagText(node),
    node.id === view.leader?.node ? `yes (epoch ${view.leader.epoch})` : "",
    node.supportedVersion === null ? "-" : `up to ${node.supportedVersion}`,
    node.address ?? "-",
    Object.entries(node.labels).map(([name, value]) => `${name}=${value}`).join(" "),
  ];
}

/** How far a node is behind, and how it catches up. */
export function lagText({ slotsBehind, catchUp }: ClusterStatusNode): string {
  if (catchUp?.kind === "snapshot") return `snapshot, ${Math.round(catchUp.bytesReceived / MIB_BYTES)} MiB received`;
  if (catchUp !== null) return `${catchUp.slotsBehind} slots, catching up`;
  if (slotsBehind === null) return "-";
  return slotsBehind === 0 ? "none" : `${slotsBehind} slots`;
}

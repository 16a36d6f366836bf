// Owns: `aether cluster status`.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { table } from "../table.ts";

const clusterSchema = z.object({
  cluster: z.string(),
  node: z.string(),
  nodes: z.array(
    z.object({
      id: z.string(),
      role: z.string(),
      status: z.string(),
      address: z.string().nullable(),
      labels: z.record(z.string(), z.string()),
      lastSeenMs: z.number().nullable(),
    }),
  ),
  leader: z.object({ node: z.string(), epoch: z.number() }).nullable(),
  quorum: z.object({ need: z.number(), have: z.number() }),
  slots: z.object({ decided: z.number(), applied: z.number() }),
  revision: z.number(),
});

export function addClusterCommands(program: Command, io: CliIo): void {
  program
    .command("cluster")
    .description("look at the cluster")
    .command("status")
    .description("nodes, leader, quorum and position of the log, as one node sees them")
    .addHelpText("after", "\nExample:\n  $ aether cluster status --api http://127.0.0.1:7202")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(clusterSchema, "/v1/cluster"), clusterText);
    });
}

function clusterText(view: z.output<typeof clusterSchema>): string {
  const { quorum, slots, leader } = view;
  const rows = view.nodes.map((node) => [
    node.id,
    node.role,
    node.status,
    node.id === leader?.node ? `yes (epoch ${leader.epoch})` : "",
    node.address ?? "-",
    Object.entries(node.labels).map(([name, value]) => `${name}=${value}`).join(" "),
  ]);
  const state = quorum.have >= quorum.need ? "in quorum" : "NO QUORUM";
  return [
    `cluster ${view.cluster}, seen by ${view.node}: ${state} (${quorum.have} of at least ${quorum.need} voters)`,
    `log: ${slots.decided} slots decided, ${slots.applied} applied; store at revision ${view.revision}`,
    "",
    table(["NODE", "ROLE", "STATUS", "LEADER", "API", "LABELS"], rows),
  ].join("\n");
}

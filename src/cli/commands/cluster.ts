// Owns: `aether cluster status`, and which other commands belong to `aether cluster`.
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { clusterSchema, clusterText } from "../cluster-view.ts";
import { openSession } from "../options.ts";
import { addBackupCommands } from "./backup.ts";
import { addQuotaCommand } from "./quota.ts";
import { addRecoverCommand } from "./recover.ts";

export function addClusterCommands(program: Command, io: CliIo): void {
  const cluster = program
    .command("cluster")
    .description("look at the cluster, its quota, back it up, restore or recover it");
  addBackupCommands(cluster, io);
  addRecoverCommand(cluster, io);
  addQuotaCommand(cluster, io);
  cluster
    .command("status")
    .description("nodes, voters, leader, quorum and position of the log, as one node sees them")
    .addHelpText("after", "\nExample:\n  $ aether cluster status --api http://127.0.0.1:7202")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(clusterSchema, "/v1/cluster"), clusterText);
    });
}

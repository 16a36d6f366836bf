// Owns: `aether cluster backup` and `aether cluster restore`. What they do is loaded on demand.
import { resolve } from "node:path";
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { untilInterrupt } from "../interrupt.ts";
import { openSession, type Session } from "../options.ts";
import { megabytes, progressTo, type TargetFlags, targetOf, type Target } from "./new-directory.ts";

const BACKUP_HELP = `
The folder is made, or must be empty. The backup is of one revision, with everything that was acknowledged before it
began; the cluster goes on meanwhile. Every row and every chunk is checked. A folder without manifest.json is no backup.

Example:
  $ aether cluster backup ./backup-monday --api http://127.0.0.1:7202`;

const RESTORE_HELP = `
Prepares the data directory of one first voter of a NEW cluster; no node runs on it yet. Do this for every first voter,
with the same backup, then start them all.

Examples:
  $ aether cluster restore ./backup-monday --config n1.yaml
  $ aether cluster restore ./backup-monday --data-dir ./data/n1 --cluster shop-2`;

export function addBackupCommands(cluster: Command, io: CliIo): void {
  cluster
    .command("backup")
    .description("write the whole store, at one revision, to files of a folder")
    .argument("<folder>", "where the backup is to be")
    .addHelpText("after", BACKUP_HELP)
    .action((folder: string, _flags: unknown, command: Command) => backUp(openSession(command, io), folder));
  cluster
    .command("restore")
    .description("prepare the data directory of a first voter of a new cluster from a backup")
    .argument("<folder>", "where the backup is")
    .option("--config <file>", "configuration of the node: its dataDir and cluster are used")
    .option("--data-dir <directory>", "the data directory; with --config, instead of that one")
    .option("--cluster <name>", "name of the new cluster; with --config, instead of that one")
    .addHelpText("after", RESTORE_HELP)
    .action(async (folder: string, flags: TargetFlags, command: Command) => {
      await restore(openSession(command, io), folder, await targetOf(flags, "restored"));
    });
}

async function backUp(session: Session, folder: string): Promise<void> {
  const { writeBackup } = await import("../../node/backup.ts");
  const { api, io } = session;
  const written = await untilInterrupt(io, (signal) =>
    writeBackup({
      directory: resolve(io.cwd, folder),
      open: () => Promise.resolve(api.bytes("/v1/cluster/backup", { signal })),
      onProgress: progressTo(io, "backed up"),
    }),
  );
  session.show(written, ({ cluster, revision, rows, bytes }) => {
    return `cluster ${cluster} at revision ${revision}: ${rows} rows, ${megabytes(bytes)}, in ${folder}`;
  });
}

async function restore(session: Session, folder: string, { dataDir, cluster }: Target): Promise<void> {
  const { restoreBackup } = await import("../../node/backup.ts");
  const { io } = session;
  const directory = resolve(io.cwd, folder);
  const onProgress = progressTo(io, "restored");
  const seed = await untilInterrupt(io, (signal) =>
    restoreBackup({ directory, dataDir: resolve(io.cwd, dataDir), cluster, signal, onProgress }),
  );
  session.show({ ...seed, cluster, dataDir }, ({ backupRevision, rows }) => {
    const next = "restore the other first voters from the same backup, then start all of them";
    return `${dataDir} begins cluster ${cluster} with ${rows} rows of revision ${backupRevision}; ${next}`;
  });
}

// Owns: `aether cluster recover`. What it does is loaded on demand.
import { resolve } from "node:path";
import type { Command } from "commander";
import { HOUR_MS, MINUTE_MS, SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { untilInterrupt } from "../interrupt.ts";
import { openSession, type Session } from "../options.ts";
import { UsageError } from "../usage-error.ts";
import { progressTo, type Target, type TargetFlags, targetOf } from "./new-directory.ts";

const RECOVER_HELP = `
For a cluster that has lost a majority of its voters for good. From the data directory of ONE stopped node it makes the
data directory of the only voter of a NEW cluster, which has another name. The old directory is only read. Without
--yes nothing is written: it says what would be in the new cluster, and what may be missing.

No node of the old cluster may be started afterwards. Of several directories that are left, take the one with the most
slots.

Examples:
  $ aether cluster recover ./data/n3 --config n3-new.yaml
  $ aether cluster recover ./data/n3 --data-dir ./data-new/n3 --cluster shop-2 --yes`;

interface RecoverFlags extends TargetFlags {
  readonly yes?: boolean;
}

/** What was found, and what was made of it. */
interface Report extends Target {
  readonly oldCluster: string;
  readonly node: string;
  readonly voters: readonly string[];
  readonly revision: number;
  readonly slots: number;
  readonly votedSlots: number;
  readonly openSlots: number;
  readonly lastWriteMs: number;
  /** The new state. */
  readonly seed: { readonly rows: number; readonly revision: number } | undefined;
}

export function addRecoverCommand(cluster: Command, io: CliIo): void {
  cluster
    .command("recover")
    .description("begin a new cluster with what one stopped node has, when a majority of voters is lost for good")
    .argument("<directory>", "data directory of the stopped node")
    .option("--config <file>", "configuration of the new node: its dataDir and cluster are used")
    .option("--data-dir <directory>", "the new data directory; with --config, instead of that one")
    .option("--cluster <name>", "name of the new cluster; with --config, instead of that one")
    .option("--yes", "do it: the old cluster is given up")
    .addHelpText("after", RECOVER_HELP)
    .action(async (directory: string, flags: RecoverFlags, command: Command) => {
      await recover(openSession(command, io), directory, { ...flags, ...(await targetOf(flags, "the new one")) });
    });
}

async function recover(session: Session, directory: string, flags: Target & { readonly yes?: boolean }): Promise<void> {
  const { recoverCluster } = await import("../../node/recover.ts");
  const { io } = session;
  const { dataDir, cluster, yes = false } = flags;
  const target = { dataDir: resolve(io.cwd, dataDir), cluster, onProgress: progressTo(io, "recovered") };
  const source = resolve(io.cwd, directory);
  const recovered = await untilInterrupt(io, (signal) =>
    recoverCluster({ source, ...target, mode: yes ? "write" : "look", signal }),
  );
  session.show({ ...recovered, cluster, dataDir }, (report) => reportText(report, io.nowMs()));
  if (!yes) throw new UsageError("nothing was written; give --yes to give up the old cluster and begin the new one");
}

function reportText(report: Report, nowMs: number): string {
  const { oldCluster, node, voters, revision, slots, votedSlots, openSlots, lastWriteMs } = report;
  const byVote = votedSlots === 0 ? "" : ` (the last ${votedSlots} by its own votes alone)`;
  const open = openSlots === 0 ? "" : `; of ${openSlots} later slots it knows no outcome`;
  const found = `revision ${revision}, ${slots} slots${byVote}${open}`;
  return [
    `${node} of cluster ${oldCluster} (voters ${voters.join(", ")}): ${found}`,
    `it wrote last at ${new Date(lastWriteMs).toISOString()}, ${ageText(nowMs - lastWriteMs)} ago`,
    "MAY BE LOST: whatever the others acknowledged after that moment, and shortly before it without this node",
    ...nextText(report),
  ].join("\n");
}

function nextText({ seed, cluster, dataDir, node }: Report): readonly string[] {
  if (seed === undefined) return [];
  return [
    `${dataDir} begins cluster ${cluster} with ${seed.rows} rows; its next revision is above ${seed.revision}`,
    `next: start it as the only one in \`voters\`, let other nodes join with empty directories and promote them; ` +
      `never start a node of the old cluster again, ${node} included`,
  ];
}

function ageText(ms: number): string {
  if (ms >= 2 * HOUR_MS) return `${Math.floor(ms / HOUR_MS)} hours`;
  if (ms >= 2 * MINUTE_MS) return `${Math.floor(ms / MINUTE_MS)} minutes`;
  return `${Math.max(0, Math.round(ms / SECOND_MS))} seconds`;
}

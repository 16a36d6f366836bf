// Owns: `aether node promote|remove|replace`: changes of who belongs to the cluster, asked of any node of it.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { clusterSchema, type ClusterStatusNode, lagText } from "../cluster-view.ts";
import { apiPath, openSession, type Session } from "../options.ts";
import { seconds } from "../seconds.ts";

const CATCH_UP_SECONDS_DEFAULT = 600;
const POLL_MS = 500;
/** A node that is so close follows: what is left is on its way. */
const LAG_SLOTS_MAX = 1_000;
/** For so long another change may be under way, or the last slots of a busy log be on their way. */
const CONFLICT_MS_MAX = 10 * SECOND_MS;
/** The node gives up after half a minute by itself. */
const CHANGE_TIMEOUT_MS = 40 * SECOND_MS;

const changedSchema = z.object({ node: z.string(), change: z.string() });
type Changed = z.output<typeof changedSchema>;

type ChangeKind = "promote" | "remove" | "replace";

interface DirectoryFlags {
  readonly directory?: string;
}

interface NamedNode {
  readonly name: string;
  /** Names its data directory; undefined when it has not come yet, or the cluster is to say which it is. */
  readonly directory: string | undefined;
}

const DIRECTORY_OPTION = "the data directory that is meant, as `aether cluster status --json` names it";

export function addMemberCommands(node: Command, io: CliIo): void {
  node
    .command("promote <name>")
    .description("make a member a voter, once it has caught up")
    .option("--timeout <seconds>", "how long to wait for it to catch up", seconds, CATCH_UP_SECONDS_DEFAULT)
    .addHelpText("after", "\nExample:\n  $ aether node promote n4 --api http://127.0.0.1:7201")
    .action(async (name: string, flags: { readonly timeout: number }, command: Command) => {
      const session = openSession(command, io);
      await waitUntilCaughtUp(session, name, flags.timeout);
      session.show(await promote(session, await findNode(session, name)), () => `${name} is a voter`);
    });
  node
    .command("remove <name>")
    .description("remove a node from the cluster; its data directory never comes back")
    .option("--directory <id>", DIRECTORY_OPTION)
    .addHelpText("after", "\nExample:\n  $ aether node remove n4 --api http://127.0.0.1:7201")
    .action(async (name: string, { directory }: DirectoryFlags, command: Command) => {
      const session = openSession(command, io);
      const named = directory === undefined ? await findNode(session, name) : { name, directory };
      session.show(await change(session, named, "remove"), () => `${name} is removed`);
    });
  node
    .command("replace <name>")
    .description("declare the disk of a voter lost, so that a new node of its name can take its place")
    .option("--directory <id>", `${DIRECTORY_OPTION}; without it the command only tells which one that is`)
    .addHelpText("after", "\nExample:\n  $ aether node replace n2 --directory 3k9x0c7q2m5v8b1z --api http://127.0.0.1:7201")
    .action(async (name: string, { directory }: DirectoryFlags, command: Command) => {
      const session = openSession(command, io);
      session.show(await change(session, { name, directory }, "replace"), () => replacedText(name));
    });
}

/** What to do when the answer is lost is part of the error: the same again, of the same directory. */
async function change(session: Session, { name, directory }: NamedNode, kind: ChangeKind): Promise<Changed> {
  const path = apiPath("/v1/cluster/members", name, kind);
  const body = JSON.stringify({ directory });
  try {
    return await session.api.request(changedSchema, "POST", path, { timeoutMs: CHANGE_TIMEOUT_MS, body });
  } catch (error) {
    if (!(error instanceof AetherError) || error.outcome !== "unknown" || directory === undefined) throw error;
    const again = `aether node ${kind} ${name}${kind === "promote" ? "" : ` --directory ${directory}`}`;
    throw new AetherError(error.code, `${error.message}; to be sure, run \`${again}\``, { cause: error });
  }
}

/** Whoever asks again means the directory that has the name now. */
async function findNode({ api }: Session, name: string): Promise<NamedNode> {
  const { nodes } = await api.get(clusterSchema, "/v1/cluster");
  return { name, directory: nodes.find((node) => node.id === name)?.directory ?? undefined };
}

/** Under load the last slots come and go: the cluster, which looks more closely, is asked a few times. */
async function promote(session: Session, node: NamedNode): Promise<Changed> {
  const deadlineMs = session.io.nowMs() + CONFLICT_MS_MAX;
  for (;;) {
    try {
      return await change(session, node, "promote");
    } catch (error) {
      const isPassing = error instanceof AetherError && error.code === "E_CONFLICT";
      if (!isPassing || session.io.nowMs() >= deadlineMs) throw error;
    }
    await session.io.sleep(POLL_MS);
  }
}

/** Tells on stderr how far the node is. A node that is not known is for the cluster to refuse. */
async function waitUntilCaughtUp({ io, api }: Session, name: string, timeoutSeconds: number): Promise<void> {
  const deadlineMs = io.nowMs() + timeoutSeconds * SECOND_MS;
  for (let told = ""; ; ) {
    const { nodes } = await api.get(clusterSchema, "/v1/cluster");
    const found = nodes.find((node) => node.id === name);
    if (found === undefined || found.role === "voter" || hasCaughtUp(found)) return;
    const progress = progressText(found);
    if (progress !== told) io.report(progress);
    told = progress;
    if (io.nowMs() >= deadlineMs) {
      throw new AetherError(
        "E_UNAVAILABLE",
        `${name} has not caught up within ${timeoutSeconds} s and is not promoted; look at its log, then promote again`,
      );
    }
    await io.sleep(POLL_MS);
  }
}

function hasCaughtUp({ status, slotsBehind, catchUp }: ClusterStatusNode): boolean {
  return status === "on-duty" && catchUp === null && slotsBehind !== null && slotsBehind <= LAG_SLOTS_MAX;
}

function progressText(node: ClusterStatusNode): string {
  if (node.slotsBehind === null) return `${node.id} is not there: start it with \`join\``;
  return `${node.id} is ${node.status}; behind: ${lagText(node)}`;
}

function replacedText(name: string): string {
  return [
    `${name} is declared lost. Start the new ${name} with an empty data directory and \`join\`:`,
    `  aether node join ADDRESS-OF-A-PEER --config FILE`,
    "Once it has caught up, it takes the place of the old one by itself.",
  ].join("\n");
}

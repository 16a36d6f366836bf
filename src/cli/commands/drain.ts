// Owns: `aether node drain`: asking a node to leave its work to others, waiting for it, and taking that back.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { clusterSchema, type ClusterStatusNode } from "../cluster-view.ts";
import { apiPath, openSession, type Session } from "../options.ts";
import { seconds } from "../seconds.ts";

const TIMEOUT_SECONDS_DEFAULT = 300;
const POLL_MS = 250;

const wantSchema = z.object({ node: z.string(), want: z.string() });

const HELP = `
The node gets no new instances, and each that it has ends there once another one serves in its place. It begins no job,
no step and no call of a tool; those under way may end, and then its jobs go on elsewhere. It stays a member, votes and
answers its clients, and it stays drained over restarts until --cancel.

Examples:
  $ aether node drain n2 --wait
  $ aether node drain n2 --cancel`;

interface DrainFlags {
  readonly wait?: boolean;
  readonly timeout: number;
  readonly cancel?: boolean;
  readonly force?: boolean;
}

export function addDrainCommand(node: Command, io: CliIo): void {
  node
    .command("drain <name>")
    .description("move what runs on a node to others, without a failed call")
    .option("--wait", "wait until nothing runs there any more; with --cancel, until it is on duty")
    .option("--timeout <seconds>", "how long to wait", seconds, TIMEOUT_SECONDS_DEFAULT)
    .option("--cancel", "take the node into duty again")
    .option("--force", "also when no other node is on duty")
    .addHelpText("after", HELP)
    .action((name: string, flags: DrainFlags, command: Command) => drain(openSession(command, io), name, flags));
}

async function drain(session: Session, name: string, { wait, timeout, cancel, force }: DrainFlags): Promise<void> {
  const path = apiPath("/v1/nodes", name, "drain");
  const wanted =
    cancel === true
      ? await session.api.request(wantSchema, "DELETE", path)
      : await session.api.request(wantSchema, "POST", path, { json: { force: force === true } });
  if (wait === true) await waitUntil(session, name, { status: wanted.want, timeoutSeconds: timeout });
  session.show(wanted, ({ want }) => {
    return wait === true ? `${name} is ${want}` : `${name} is asked to be ${want}; see \`aether cluster status\``;
  });
}

/** Tells on stderr how far the node is. */
async function waitUntil(
  { io, api }: Session,
  name: string,
  { status, timeoutSeconds }: { readonly status: string; readonly timeoutSeconds: number },
): Promise<void> {
  const deadlineMs = io.nowMs() + timeoutSeconds * SECOND_MS;
  for (let told = ""; ; ) {
    const { nodes } = await api.get(clusterSchema, "/v1/cluster");
    const found = nodes.find((node) => node.id === name);
    if (found?.status === status) return;
    const progress = found === undefined ? `${name} is not there` : progressText(found);
    if (progress !== told) io.report(progress);
    told = progress;
    if (io.nowMs() >= deadlineMs) throw lateError(progress, timeoutSeconds);
    await io.sleep(POLL_MS);
  }
}

function progressText({ id, status, instances, jobs }: ClusterStatusNode): string {
  const jobsText = jobs === null ? "" : ` and ${counted(jobs, "job")}`;
  return `${id} is ${status}, with ${counted(instances, "instance")}${jobsText}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function lateError(progress: string, timeoutSeconds: number): AetherError {
  return new AetherError(
    "E_UNAVAILABLE",
    `after ${timeoutSeconds} s ${progress}; it goes on by itself: \`aether blueprint status\` says what has no ` +
      "place, `aether job list` which jobs run",
  );
}

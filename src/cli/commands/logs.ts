// Owns: `aether logs level`: which lines the logs of nodes have, looked at and changed while they run.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { clusterSchema } from "../cluster-view.ts";
import { CommandExit } from "../command-exit.ts";
import { EXIT } from "../exit.ts";
import { HttpApi, JSON_CONTENT } from "../http-api.ts";
import { openSession, type Session } from "../options.ts";
import { table } from "../table.ts";
import { UsageError } from "../usage-error.ts";

const PATH = "/v1/logs/levels";
const LEVELS = ["silent", "error", "warn", "info", "debug"] as const;
const EVERYWHERE = "all";
const RESET = "reset";

const HELP = `
The area of a line is what its event begins with: \`jobs\` of "jobs.stuck". Levels are
${LEVELS.join(", ")}; ${RESET} lets an area go by the level of all others again.
What is changed holds until the node restarts; it begins with \`logLevel\` of its configuration.

Examples:
  $ aether logs level
  $ aether logs level jobs debug
  $ aether logs level all warn --node n2
  $ aether logs level jobs reset`;

const levelsSchema = z.object({
  node: z.string(), everywhere: z.string(), areas: z.record(z.string(), z.string()),
});
type Levels = z.output<typeof levelsSchema>;
type Answer = Levels | { readonly node: string; readonly error: { readonly code: string; readonly message: string } };

export function addLogsCommands(program: Command, io: CliIo): void {
  program.command("logs").description("the logs of nodes")
    .command("level")
    .description("which lines the logs of all nodes have; with an area and a level, change that")
    .argument("[area]", `what events begin with, or ${EVERYWHERE}`)
    .argument("[level]", `${LEVELS.join(", ")} or ${RESET}`)
    .option("--node <id>", "of this node alone")
    .addHelpText("after", HELP)
    .action(async (
      area: string | undefined, level: string | undefined, flags: { readonly node?: string }, command: Command,
    ) => {
      const session = openSession(command, io);
      const body = changeOf(area, level);
      const nodes = await nodesOf(session, flags.node);
      const answers = await Promise.all(nodes.map((node) => ask(io, node, body)));
      session.show(answers, (shown) => answersText(shown, area));
      if (answers.some((answer) => "error" in answer)) throw new CommandExit(EXIT.failed);
    });
}

function changeOf(area: string | undefined, level: string | undefined): string | undefined {
  if (level === undefined) return undefined;
  if (level !== RESET && !LEVELS.some((known) => known === level)) {
    throw new UsageError(`"${level}" is no level: use ${LEVELS.join(", ")} or ${RESET}`);
  }
  if (area === EVERYWHERE && level === RESET) throw new UsageError(`${EVERYWHERE} has a level: say which`);
  return JSON.stringify({
    ...(area !== EVERYWHERE && { area }),
    ...(level !== RESET && { level }),
  });
}

interface AskedNode {
  readonly id: string;
  /** Absent for one that nobody has heard of. */
  readonly address: string | null;
}

async function nodesOf(session: Session, wanted: string | undefined): Promise<readonly AskedNode[]> {
  const { nodes } = await session.api.get(clusterSchema, "/v1/cluster");
  if (wanted === undefined) return nodes.filter(({ isLost }) => !isLost);
  const found = nodes.filter(({ id }) => id === wanted);
  if (found.length > 0) return found;
  throw new AetherError("E_NOT_FOUND", `there is no node "${wanted}" in the cluster`, { outcome: "not-applied" });
}

/** One that does not answer is no reason to leave out the others. */
async function ask(io: CliIo, { id, address }: AskedNode, body: string | undefined): Promise<Answer> {
  try {
    if (address === null) throw new AetherError("E_UNAVAILABLE", "nobody knows where it answers");
    const api = new HttpApi(io, address);
    if (body === undefined) return await api.get(levelsSchema, PATH);
    return await api.request(levelsSchema, "PUT", PATH, { body, headers: JSON_CONTENT });
  } catch (thrown) {
    const { code, message } = toAetherError(thrown);
    return { node: id, error: { code, message } };
  }
}

function answersText(answers: readonly Answer[], area: string | undefined): string {
  const rows = answers.map((answer) => {
    if ("error" in answer) return [answer.node, `${answer.error.code}: ${answer.error.message}`, ""];
    const areas = Object.entries(answer.areas).filter(([name]) => [undefined, EVERYWHERE, name].includes(area));
    return [answer.node, answer.everywhere, areas.map(([name, level]) => `${name}=${level}`).join(" ")];
  });
  return table(["NODE", "LEVEL", "AREAS"], rows);
}

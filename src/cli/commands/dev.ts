// Owns: `aether dev`: its options. What it does is dev/dev-run.ts.
import { resolve } from "node:path";
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { EXIT } from "../exit.ts";
import type { CommonOptions } from "../options.ts";

const DIRECTORY_DEFAULT = "./.aether/dev";
const NODES_DEFAULT = 3;
const NODES_MAX = 7;
const PEER_PORT_DEFAULT = 7101;
const API_PORT_DEFAULT = 7201;
const HELP = `
With --json the lines of the nodes' logs are shown as they are.

Examples:
  $ aether dev
  $ aether dev ./shop
  $ aether dev --nodes 5 --fresh`;

interface DevFlags {
  readonly nodes: number;
  readonly dir: string;
  readonly fresh?: boolean;
  readonly peerPort: number;
  readonly apiPort: number;
}

export function addDevCommand(program: Command, io: CliIo): void {
  program
    .command("dev")
    .description("run a cluster of three nodes in this terminal, and deploy a directory's slices on each change")
    .argument("[project]", "directory with a blueprint and slice packages; without one the cluster runs empty")
    .option("--nodes <n>", "number of nodes, 1 to 7", parseNodes, NODES_DEFAULT)
    .option("--dir <directory>", "where configuration and data go", DIRECTORY_DEFAULT)
    .option("--fresh", "delete the data of earlier runs first")
    .option("--peer-port <port>", "first of the ports for peers", parsePort, PEER_PORT_DEFAULT)
    .option("--api-port <port>", "first of the ports for clients", parsePort, API_PORT_DEFAULT)
    .addHelpText("after", HELP)
    .action(async (project: string | undefined, flags: DevFlags, command: Command) => {
      const { runDev } = await import("../dev/dev-run.ts");
      const { nodes, dir, fresh = false, peerPort, apiPort } = flags;
      const isClean = await runDev(io, {
        project,
        cluster: { directory: resolve(io.cwd, dir), nodeCount: nodes, peerPort, apiPort },
        data: fresh ? "fresh" : "keep",
        lines: command.optsWithGlobals<CommonOptions>().json === true ? "as they are" : "for people",
      });
      if (!isClean) throw new CommandExit(EXIT.failed);
    });
}

function parseNodes(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= NODES_MAX) return value;
  throw new InvalidArgumentError(`use 1 to ${NODES_MAX}`);
}

function parsePort(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value + NODES_MAX <= 65_536) return value;
  throw new InvalidArgumentError("use a port number");
}

// Owns: `aether node start` and `join`: flags in, a running node until a signal. The node itself is loaded on demand.
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { EXIT } from "../exit.ts";
import { addDrainCommand } from "./drain.ts";
import { addMemberCommands } from "./member.ts";

const START_HELP = `
Every value of the configuration can be given in the file, as AETHER_… variable (AETHER_DATA_DIR=./data/n1) or,
for the common ones, as a flag; flags win over variables, variables over the file.

Examples:
  $ aether node start --config n1.yaml
  $ aether node start --cluster demo --node n1 --listen ws://127.0.0.1:7101 --api http://127.0.0.1:7201 \\
      --voters n1=ws://127.0.0.1:7101,n2=ws://127.0.0.1:7102,n3=ws://127.0.0.1:7103 --data-dir ./data/n1`;

const JOIN_HELP = `
The node has an empty data directory and asks any node of the cluster to let it in. Once it is ready it is a member: it
follows, serves reads and runs slices. \`aether node promote\` makes it a voter.

Example:
  $ aether node join ws://127.0.0.1:7101 --config n4.yaml`;

interface StartFlags {
  readonly config?: string;
  readonly cluster?: string;
  readonly node?: string;
  readonly listen?: string;
  readonly api?: string;
  readonly voters?: Readonly<Record<string, string>>;
  readonly join?: readonly string[];
  readonly dataDir?: string;
  readonly durability?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly logLevel?: string;
}

export function addNodeCommands(program: Command, io: CliIo): void {
  const node = program.command("node").description("run a node, and change who belongs to the cluster");
  withNodeOptions(node.command("start"))
    .description("start a node and run it until SIGTERM or Ctrl-C")
    .option("--voters <list>", "first voters of a new cluster as id=url,id=url,…", parsePairs)
    .option("--join <list>", "addresses of a running cluster to join, as url,url,…", parseList)
    .addHelpText("after", START_HELP)
    .action((_flags: unknown, command: Command) => run(command.optsWithGlobals<StartFlags>()));
  withNodeOptions(node.command("join <address...>"))
    .description("start a node that joins a running cluster, and run it until SIGTERM or Ctrl-C")
    .addHelpText("after", JOIN_HELP)
    .action((join: readonly string[], _flags: unknown, command: Command) => {
      return run({ ...command.optsWithGlobals<StartFlags>(), join });
    });
  addMemberCommands(node, io);
  addDrainCommand(node, io);
}

function withNodeOptions(command: Command): Command {
  return command
    .option("--config <file>", "YAML file with the configuration")
    .option("--cluster <name>", "name of the cluster")
    .option("--node <id>", "unique id of this node")
    .option("--listen <url>", "address for peers, ws://…")
    .option("--data-dir <directory>", "where this node keeps its data")
    .option("--durability <mode>", "fsync, or memory for tests")
    .option("--labels <list>", "labels as name=value,name=value,…", parsePairs)
    .option("--log-level <level>", "error, warn, info, debug or silent");
}

async function run({ config, ...flags }: StartFlags): Promise<void> {
  const { cluster, node, listen, api, voters, join, dataDir, durability, labels, logLevel } = flags;
  const overrides = { cluster, node, listen, api, voters, join, dataDir, durability, labels, logLevel };
  const { runNode } = await import("../../node/main.ts");
  const exitCode = await runNode({ ...(config === undefined ? {} : { file: config }), overrides });
  if (exitCode !== EXIT.done) throw new CommandExit(exitCode);
}

function parseList(text: string): readonly string[] {
  return text.split(",").map((part) => part.trim());
}

function parsePairs(text: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const pair of text.split(",")) {
    const [, name, value] = /^([^=]+)=(.+)$/.exec(pair.trim()) ?? [];
    if (name === undefined || value === undefined) {
      throw new InvalidArgumentError(`"${pair}" is not of the form name=value`);
    }
    pairs[name] = value;
  }
  return pairs;
}

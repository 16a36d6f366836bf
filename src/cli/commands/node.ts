// Owns: `aether node start`: flags in, a running node until a signal. The node itself is loaded on demand.
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { EXIT } from "../exit.ts";

const HELP = `
Every value of the configuration can be given in the file, as AETHER_… variable (AETHER_DATA_DIR=./data/n1) or,
for the common ones, as a flag; flags win over variables, variables over the file.

Examples:
  $ aether node start --config n1.yaml
  $ aether node start --cluster demo --node n1 --listen ws://127.0.0.1:7101 --api http://127.0.0.1:7201 \\
      --voters n1=ws://127.0.0.1:7101,n2=ws://127.0.0.1:7102,n3=ws://127.0.0.1:7103 --data-dir ./data/n1`;

interface StartFlags {
  readonly config?: string;
  readonly cluster?: string;
  readonly node?: string;
  readonly listen?: string;
  readonly api?: string;
  readonly voters?: Readonly<Record<string, string>>;
  readonly dataDir?: string;
  readonly durability?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly logLevel?: string;
}

export function addNodeCommands(program: Command, _io: CliIo): void {
  program
    .command("node")
    .description("run a node")
    .command("start")
    .description("start a node and run it until SIGTERM or Ctrl-C")
    .option("--config <file>", "YAML file with the configuration")
    .option("--cluster <name>", "name of the cluster")
    .option("--node <id>", "unique id of this node")
    .option("--listen <url>", "address for peers, ws://…")
    .option("--voters <list>", "first voters as id=url,id=url,…", parsePairs)
    .option("--data-dir <directory>", "where this node keeps its data")
    .option("--durability <mode>", "fsync, or memory for tests")
    .option("--labels <list>", "labels as name=value,name=value,…", parsePairs)
    .option("--log-level <level>", "error, warn, info, debug or silent")
    .addHelpText("after", HELP)
    .action(async (_flags: unknown, command: Command) => {
      const { config, ...flags } = command.optsWithGlobals<StartFlags & { readonly json?: boolean }>();
      const { cluster, node, listen, api, voters, dataDir, durability, labels, logLevel } = flags;
      const overrides = { cluster, node, listen, api, voters, dataDir, durability, labels, logLevel };
      const { runNode } = await import("../../node/main.ts");
      const exitCode = await runNode({ ...(config === undefined ? {} : { file: config }), overrides });
      if (exitCode !== EXIT.done) throw new CommandExit(exitCode);
    });
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

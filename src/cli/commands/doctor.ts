// Owns: `aether doctor`: what is wrong with a cluster and its machines, and what to do about it.
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { CommandExit } from "../command-exit.ts";
import { type Finding, type FindingLevel, needsPerson } from "../doctor/findings.ts";
import { lookAtCluster } from "../doctor/look.ts";
import { lookHere, type Here } from "../doctor/look-here.ts";
import { EXIT } from "../exit.ts";
import { openSession } from "../options.ts";
import { printable } from "../printable.ts";
import { table } from "../table.ts";

const HELP = `
Asks the node at --api for the cluster, and each node for itself. A node that does not answer hides nothing of the
others. With --config or --data-dir it also looks at this machine, where no node need run; with --offline only there.
Ends with 1 when something needs a person: a problem, or what could not be looked at.

Examples:
  $ aether doctor
  $ aether doctor --config n1.yaml
  $ aether doctor --offline --data-dir /var/lib/aether`;

/** The worst first. */
const LEVELS: readonly FindingLevel[] = ["problem", "unknown", "warning", "ok"];

interface DoctorFlags extends Here {
  readonly offline?: boolean;
}

export function addDoctorCommand(program: Command, io: CliIo): void {
  program
    .command("doctor")
    .description("what is wrong with the cluster, its nodes and this machine, and what to do about it")
    .option("--config <file>", "also look at this machine, as for a node with this configuration")
    .option("--data-dir <directory>", "also look at the disk of this directory")
    .option("--offline", "ask no node")
    .addHelpText("after", HELP)
    .action(async (_flags: unknown, command: Command) => {
      const { offline = false, ...here } = command.optsWithGlobals<DoctorFlags>();
      const session = openSession(command, io);
      const findings = [
        ...(await lookHere(io, here)),
        ...(offline ? [] : await lookAtCluster(io, session.api)),
        ...(offline ? [] : [CERTIFICATES]),
      ];
      const sorted = [...findings].sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
      const report = { needsPerson: needsPerson(sorted), findings: sorted };
      session.show(report, ({ findings: shown }) => findingsText(shown));
      if (report.needsPerson) throw new CommandExit(EXIT.failed);
    });
}

const CERTIFICATES: Finding = {
  check: "certificates", level: "ok", what: "there are none: nodes of this version listen on loopback, without TLS",
};

function findingsText(findings: readonly Finding[]): string {
  const rows = findings.map(({ level, check, of, what }) => [level.toUpperCase(), check, of ?? "", printable(what)]);
  const lines = table(["", "CHECK", "OF", "FOUND"], rows).split("\n");
  const advised = findings.flatMap(({ advice, check, of }) =>
    advice === undefined ? [] : [`${check}${of === undefined ? "" : ` of ${of}`}: ${advice}`]);
  const toDo = advised.length === 0 ? [] : ["", "What to do:", ...advised.map((line) => `  ${line}`)];
  return [...lines, ...toDo].join("\n");
}

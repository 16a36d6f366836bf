// Owns: `aether control simulate`: what rules would have decided about a recorded load, without a cluster.
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { table } from "../table.ts";
import { readText } from "../text-input.ts";

const HELP = `
A recording is what \`aether control record\` prints, or CSV with the columns seconds,slice,metric,value. Models are not
asked: --advice gives what they said, or might say, as CSV with the columns seconds,slice,instances.

Examples:
  $ aether control record > load.json
  $ aether control simulate rules.yaml load.json
  $ aether control simulate rules.yaml load.csv --advice advice.csv --json`;

interface SimulateFlags {
  readonly advice?: string;
}

export function addSimulateCommand(control: Command, io: CliIo): void {
  control
    .command("simulate")
    .description("play a recorded load through rules, and print what they decide over time")
    .argument("<rules>", "rules in YAML or JSON")
    .argument("<recording>", "what was measured, in JSON or CSV")
    .option("--advice <file>", "what models say meanwhile, in CSV")
    .addHelpText("after", HELP)
    .action(async (rulesFile: string, recordingFile: string, { advice }: SimulateFlags, command: Command) => {
      const session = openSession(command, io);
      const rulesText = await readText(io, rulesFile);
      const recordingText = await readText(io, recordingFile);
      const adviceText = advice === undefined ? undefined : await readText(io, advice);
      const { playRecording } = await import("../../control/play-recording.ts");
      session.show(playRecording(rulesText, recordingText, adviceText), ({ seconds, decisions, slices }) => {
        const rows = decisions.map(({ second, decision }) => [
          `${second} s`, decision.slice, decision.source,
          decision.kind === "scale" ? `${decision.from} → ${decision.to}` : decision.kind, decision.reason,
        ]);
        const sums = Object.entries(slices).map(([slice, { base, least, most, last, changes, instanceSeconds }]) => [
          slice, String(base), String(least), String(most), String(last), String(changes), String(instanceSeconds),
        ]);
        const heads = ["SLICE", "BLUEPRINT", "LEAST", "MOST", "AT THE END", "CHANGES", "INSTANCE SECONDS"];
        const made = table(["AT", "SLICE", "SOURCE", "DECISION", "REASON"], rows);
        return `${seconds} s of load\n\n${rows.length === 0 ? "nothing was decided" : made}\n\n${table(heads, sums)}`;
      });
    });
}

// Owns: `aether control simulate`: what rules would have decided about a recorded load, without a cluster.
import type { Command } from "commander";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { table } from "../table.ts";
import { readText } from "../text-input.ts";

const HELP = `
A recording is JSON, as GET /v1/metrics/history answers, with "slices": {"orders": {"instances": 2}} beside "series"
where a blueprint says more than one; or CSV with the columns seconds,slice,metric,value. Models are not asked.

Examples:
  $ aether control simulate rules.yaml load.csv
  $ aether control simulate rules.yaml history.json --json`;

export function addSimulateCommand(control: Command, io: CliIo): void {
  control
    .command("simulate")
    .description("play a recorded load through rules, and print what they decide over time")
    .argument("<rules>", "rules in YAML or JSON")
    .argument("<recording>", "what was measured, in JSON or CSV")
    .addHelpText("after", HELP)
    .action(async (rulesFile: string, recordingFile: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const rulesText = await readText(io, rulesFile);
      const recordingText = await readText(io, recordingFile);
      const { playRecording } = await import("../../control/play-recording.ts");
      session.show(playRecording(rulesText, recordingText), ({ seconds, decisions, slices }) => {
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

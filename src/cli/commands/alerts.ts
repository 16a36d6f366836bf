// Owns: `aether alerts`: what is wrong now, since when, and what to do.
import { Option, type Command } from "commander";
import { SECOND_MS } from "../../base/units.ts";
import { alertsSchema, type ShownAlert, type ShownAlerts } from "../alert-view.ts";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { printable } from "../printable.ts";
import { table } from "../table.ts";
import { tellEvents } from "./events.ts";

const HELP = `
Any node tells of the whole cluster. With --pending also what is about to fire. With --follow it goes on with what fires
and what is over, until Ctrl-C; with --json these are events, one per line.

Examples:
  $ aether alerts
  $ aether alerts --severity error --json
  $ aether alerts --follow`;

interface AlertsFlags {
  readonly severity?: string;
  readonly pending?: boolean;
  readonly follow?: boolean;
}

export function addAlertsCommand(program: Command, io: CliIo): void {
  program
    .command("alerts")
    .description("show what is wrong now, since when, and what to do")
    .addOption(new Option("--severity <severity>", "only alerts of this severity").choices(["warning", "error"]))
    .option("--pending", "also what is about to fire")
    .option("--follow", "go on with what fires and what is over, until Ctrl-C")
    .addHelpText("after", HELP)
    .action(async ({ severity, pending, follow }: AlertsFlags, command: Command) => {
      const session = openSession(command, io);
      const query = new URLSearchParams({
        ...(severity !== undefined && { severity }), ...(pending !== true && { state: "firing" }),
      });
      const answer = await session.api.get(alertsSchema, `/v1/alerts?${query.toString()}`);
      if (follow !== true || !session.isJson) session.show(answer, alertsText);
      if (follow === true) await tellEvents(session, { area: "alert", ...(severity !== undefined && { severity }) });
    });
}

function alertsText({ alerts, judged }: ShownAlerts): string {
  return [...alertLines(alerts), ...judgedLines(judged)].join("\n");
}

function alertLines(alerts: readonly ShownAlert[]): readonly string[] {
  if (alerts.length === 0) return ["no alert fires"];
  const rows = alerts.map(({ severity, state, alert, sinceMs, text }) =>
    [severity.toUpperCase(), alert, state, new Date(sinceMs).toISOString(), printable(text)]);
  const todo = new Map(alerts.map(({ alert, action }) => [alert, action]));
  return [
    table(["", "ALERT", "STATE", "SINCE", "WHAT"], rows), "", "What to do:",
    ...[...todo].map(([alert, action]) => `  ${alert}: ${printable(action)}`),
  ];
}

function judgedLines(judged: ShownAlerts["judged"]): readonly string[] {
  if (judged === null) return ["", "nobody has judged the cluster yet: no node leads, or this one has just started"];
  if (!judged.isStale) return [];
  return ["", `judged ${Math.round(judged.ageMs / SECOND_MS)} s ago by ${judged.by}, and by nobody since`];
}

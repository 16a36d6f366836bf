// Owns: `aether schedule list`.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { table } from "../table.ts";

const listSchema = z.object({
  schedules: z.array(z.object({
    blueprint: z.string(),
    slice: z.string(),
    name: z.string(),
    cron: z.string(),
    timeZone: z.string(),
    method: z.string().optional(),
    agent: z.string().optional(),
    overlap: z.string().optional(),
    last: z.object({
      state: z.string(),
      tick: z.number(),
      ended: z.number().optional(),
      error: z.object({ code: z.string(), message: z.string() }).optional(),
    }).optional(),
    job: z.string().optional(),
  })),
});

const HEADS = ["SCHEDULE", "WHEN", "RUNS", "LAST TICK", "STATE", "LAST JOB", "ERROR"];
const HELP = `
A tick calls a method of a slice, or starts a job of an agent. A tick is skipped when the job before it has not ended.

Examples:
  $ aether schedule list
  $ aether job list --attribute schedule=nightly`;

export function addScheduleCommands(program: Command, io: CliIo): void {
  program
    .command("schedule")
    .description("what runs by itself")
    .command("list")
    .description("schedules of slices and agents, with the last tick of each, and the job that it has started")
    .addHelpText("after", HELP)
    .action(async (_options: unknown, command: Command) => {
      const session = openSession(command, io);
      const found = await session.api.get(listSchema, "/v1/schedules");
      session.show(found, ({ schedules }) =>
        schedules.length === 0 ? "no blueprint has a schedule" : table(HEADS, schedules.map(rowOf)));
    });
}

function rowOf(schedule: z.output<typeof listSchema>["schedules"][number]): string[] {
  const { slice, name, cron, timeZone, method = "", agent, last, job } = schedule;
  return [
    agent === undefined ? `${slice}/${name}` : `${slice}/${agent}/${name}`,
    `${cron} ${timeZone}`,
    agent === undefined ? `${slice}/${method}` : `agent ${agent}`,
    last === undefined ? "-" : new Date(last.tick).toISOString(),
    last === undefined ? "-" : last.state,
    job ?? "-",
    last?.error === undefined ? "" : `${last.error.code}: ${last.error.message}`,
  ];
}

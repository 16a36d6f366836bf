// Owns: `aether job trace`.
import type { Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { eventsSchema, JOBS, type ShownEvent } from "../../job-answers.ts";
import { traceOf, traceText } from "../../job-trace.ts";
import { apiPath, openSession, type Session } from "../../options.ts";

const EVENTS_PER_PAGE = 1_000;

const HELP = `
With --json: one event per line, as it is in the log.

Example:
  $ aether job trace claim-17`;

export function addTraceCommand(group: Command, io: CliIo): void {
  group
    .command("trace")
    .description("everything that has happened in a job, with the time since its beginning")
    .argument("<job>", "id of the job")
    .addHelpText("after", HELP)
    .action(async (job: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const events = await readEvents(session, job);
      if (session.isJson) {
        for (const event of events) io.print(JSON.stringify(event));
        return;
      }
      io.print(traceText(traceOf(events)));
    });
}

async function readEvents({ api }: Session, job: string): Promise<readonly ShownEvent[]> {
  const events: ShownEvent[] = [];
  for (;;) {
    const query = `after=${events.at(-1)?.seq ?? 0}&limit=${EVENTS_PER_PAGE}`;
    const page = await api.get(eventsSchema, `${apiPath(JOBS, job)}/events?${query}`);
    events.push(...page.events);
    if (!page.more || page.events.length === 0) return events;
  }
}

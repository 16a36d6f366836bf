// Owns: `aether job trace`.
import { InvalidArgumentError, type Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { eventsSchema, JOBS, type ShownEvent } from "../../job-answers.ts";
import { traceOf, traceText } from "../../job-trace.ts";
import { apiPath, openSession, type Session } from "../../options.ts";

const EVENTS_PER_PAGE = 1_000;

const HELP = `
With --json: one event per line, as it is in the log.

Examples:
  $ aether job trace claim-17
  $ aether job trace poller --run 2`;

export function addTraceCommand(group: Command, io: CliIo): void {
  group
    .command("trace")
    .description("everything that has happened in a job, with the time since its beginning")
    .argument("<job>", "id of the job")
    .option("--run <n>", "of this run, when the job has continued as a new one; default: the latest", parseRun)
    .addHelpText("after", HELP)
    .action(async (job: string, { run }: { readonly run?: number }, command: Command) => {
      const session = openSession(command, io);
      const events = await readEvents(session, job, run);
      if (session.isJson) {
        for (const event of events) io.print(JSON.stringify(event));
        return;
      }
      io.print(traceText(traceOf(events)));
    });
}

function parseRun(text: string): number {
  const run = Number(text);
  if (Number.isInteger(run) && run >= 1) return run;
  throw new InvalidArgumentError("use the number of a run, 1 or more");
}

async function readEvents(
  { api }: Session, job: string, wanted: number | undefined,
): Promise<readonly ShownEvent[]> {
  const events: ShownEvent[] = [];
  for (;;) {
    // It may continue as a new one meanwhile.
    const run = wanted ?? events[0]?.run;
    const ofRun = run === undefined ? "" : `&run=${run}`;
    const query = `after=${events.at(-1)?.seq ?? 0}&limit=${EVENTS_PER_PAGE}${ofRun}`;
    const page = await api.get(eventsSchema, `${apiPath(JOBS, job)}/events?${query}`);
    events.push(...page.events);
    if (!page.more || page.events.length === 0) return events;
  }
}

// Owns: `aether events`: what has happened in the cluster, and what happens from now on.
import { Option, type Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseAge } from "../age.ts";
import type { CliIo } from "../cli-io.ts";
import { followEvents } from "../follow.ts";
import { followUntilInterrupt } from "../interrupt.ts";
import { openSession, type Session } from "../options.ts";
import { printable } from "../printable.ts";
import type { ReceivedEvent } from "../sse.ts";

const EVENTS = "/v1/events";
const HELP = `
Shows what the node holds, the newest last: of each area up to 1,000 events. With --follow it goes on with what happens,
also when the node is lost: the next one goes on where it was. With --json: one event per line.

Examples:
  $ aether events
  $ aether events --severity warning --since 10min
  $ aether events --follow --kind instance.failed,node.gone`;

export interface EventFlags {
  readonly kind?: string;
  readonly area?: string;
  readonly severity?: string;
  readonly subject?: string;
  readonly since?: number;
}

interface EventsFlags extends EventFlags {
  readonly follow?: boolean;
  readonly limit: string;
}

// Not the kinds of this build: a node that is newer may say what this command does not know.
const eventSchema = z.looseObject({
  atMs: z.number(),
  severity: z.string(),
  kind: z.string(),
  text: z.string(),
  missed: z.number().exactOptional(),
});
type ShownEvent = z.output<typeof eventSchema>;
const gapSchema = z.object({ areas: z.array(z.string()) });
const listSchema = z.object({ events: z.array(eventSchema) });

export function addEventsCommand(program: Command, io: CliIo): void {
  program
    .command("events")
    .description("show what has happened in the cluster")
    .option("--follow", "go on with what happens, until Ctrl-C")
    .option("--kind <kinds>", "only events of these kinds, with commas")
    .option("--area <areas>", "only events of these areas, with commas")
    .addOption(new Option("--severity <severity>", "only events as severe as this, or more")
      .choices(["info", "warning", "error"]))
    .option("--subject <name>", "only events about this, like node/n1, or n1")
    .option("--since <time>", "only events that are not older, like \"10 min\" or 2h", parseAge)
    .option("--limit <number>", "how many at most, the newest", "100")
    .addHelpText("after", HELP)
    .action(async (flags: EventsFlags, command: Command) => {
      const session = openSession(command, io);
      if (flags.follow === true) await tellEvents(session, flags);
      else await list(session, flags);
    });
}

async function list(session: Session, flags: EventsFlags): Promise<void> {
  const query = new URLSearchParams({ ...filterOf(session, flags), follow: "false", limit: flags.limit });
  const { events } = await session.api.get(listSchema, `${EVENTS}?${query.toString()}`);
  for (const event of events) show(session, event);
  if (events.length === 0 && !session.isJson) session.io.report("the node holds no such events");
}

/** What happens from now on, one line each, until Ctrl-C. */
export async function tellEvents(session: Session, flags: EventFlags): Promise<void> {
  const filter = filterOf(session, flags);
  let after: string | undefined;
  await followUntilInterrupt(session.io, (signal) => followEvents(session, {
    what: "the events",
    path: () => `${EVENTS}?${new URLSearchParams({ ...filter, ...(after !== undefined && { after }) }).toString()}`,
    take: (event) => {
      after = event.id ?? after;
      take(session, event);
      return "on";
    },
  }, signal));
}

function filterOf({ io }: Session, { kind, area, severity, subject, since }: EventFlags): Record<string, string> {
  return {
    ...(kind !== undefined && { kind }),
    ...(area !== undefined && { area }),
    ...(severity !== undefined && { severity }),
    ...(subject !== undefined && { subject }),
    ...(since !== undefined && { sinceMs: String(io.wallMs() - since) }),
  };
}

function take(session: Session, { event, data }: ReceivedEvent): void {
  if (event === "event") show(session, parse(eventSchema, data));
  if (event !== "gap") return;
  const { areas } = parse(gapSchema, data);
  session.io.report(`some events are not held any more: ${areas.join(", ")}`);
}

function show({ io, isJson }: Session, event: ShownEvent): void {
  const { atMs, severity, kind, text, missed = 0 } = event;
  if (isJson) return io.print(JSON.stringify(event));
  if (missed > 0) io.report(`${missed} left out: they came faster than they were read`);
  io.print(`${new Date(atMs).toISOString()}  ${severity.padEnd(7)}  ${kind.padEnd(20)}  ${printable(text)}`);
}

function parse<T>(schema: z.ZodType<T>, text: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new AetherError("E_VERSION", `the node sent what this version does not know: ${text.slice(0, 100)}`, {
      cause: error,
    });
  }
}

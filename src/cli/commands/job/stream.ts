// Owns: `aether job stream`: how a job goes on, as it happens.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../../base/errors.ts";
import type { CliIo } from "../../cli-io.ts";
import { followEvents } from "../../follow.ts";
import { followUntilInterrupt } from "../../interrupt.ts";
import { JOBS, listedJobSchema, resultAnswerSchema, resultLine, statusText } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import type { ReceivedEvent } from "../../sse.ts";

const HELP = `
Shows what the job's code emits while it runs, and each change of its state, until it has ended; any node will do, and
when it is lost the next one goes on. What was emitted before is not shown; aether job trace shows what was stored.
With --json: one event per line, as { event, data }.

Example:
  $ aether job stream claim-17`;

const progressSchema = z.object({ data: z.unknown(), missed: z.number().optional() });

export function addStreamCommand(group: Command, io: CliIo): void {
  group
    .command("stream")
    .description("show how a job goes on, until it has ended")
    .argument("<job>", "id of the job")
    .addHelpText("after", HELP)
    .action(async (job: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const stream = { what: `the stream of job ${job}`, path: () => `${apiPath(JOBS, job)}/stream` };
      await followUntilInterrupt(io, (signal) => followEvents(session, {
        ...stream, take: (event) => take(session, event),
      }, signal));
    });
}

function take({ io, isJson }: Session, { event, data }: ReceivedEvent): "over" | "on" {
  const value = parseData(data);
  if (event === "alive") return "on";
  if (isJson) io.print(JSON.stringify({ event, data: value }));
  else for (const line of linesOf(event, value)) io.print(line);
  return event === "end" ? "over" : "on";
}

function linesOf(event: string, value: unknown): readonly string[] {
  switch (event) {
    case "state":
      return [statusText(listedJobSchema.parse(value))];
    case "progress": {
      const { data, missed = 0 } = progressSchema.parse(value);
      const text = typeof data === "string" ? data : JSON.stringify(data);
      return missed === 0 ? [text] : [`(${missed} left out: they came faster than they were read)`, text];
    }
    case "end": {
      const { result } = resultAnswerSchema.parse(value);
      return result === undefined ? [] : [resultLine(result)];
    }
    default:
      return [];
  }
}

function parseData(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AetherError("E_VERSION", `the node sent an event that is no JSON: ${text.slice(0, 100)}`, {
      cause: error,
    });
  }
}

// Owns: `aether topic list | dead | retry | drop`.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import type { ApiRequestOptions } from "../http-api.ts";
import { apiPath, openSession } from "../options.ts";
import { printable } from "../printable.ts";
import { table } from "../table.ts";
import { UsageError } from "../usage-error.ts";

const groupSchema = z.object({
  group: z.string(), method: z.string().nullable(), waiting: z.number(), waitingBytes: z.number(), dead: z.number(),
});
const listSchema = z.object({ topics: z.array(z.object({ topic: z.string(), groups: z.array(groupSchema) })) });
const messageSchema = z.object({
  group: z.string(), id: z.string(), key: z.string(), payload: z.unknown(), attempts: z.number(),
  error: z.object({ code: z.string(), message: z.string() }),
});
const deadSchema = z.object({ messages: z.array(messageSchema) });
const retriedSchema = z.object({ retried: z.number() });
const droppedSchema = z.object({ dropped: z.number() });

/** Of a payload in a table. */
const SHOWN_CHARS_MAX = 60;
const TIMEOUT_MS = 60_000;

const DEAD_HELP = `
A message is put aside after 10 attempts that failed. It stays until it is tried anew or dropped; the newest 1,000 of
each slice are kept.

Examples:
  $ aether topic dead order-placed --group notifications
  $ aether topic dead order-placed --json`;
const RETRY_HELP = `
They go behind the messages that wait now, and have all their attempts again.

Examples:
  $ aether topic retry order-placed
  $ aether topic retry order-placed --group notifications --id n1.3.000000000017`;
const DROP_HELP = `
Examples:
  $ aether topic drop order-placed --id n1.3.000000000017
  $ aether topic drop order-placed --group notifications --all`;

interface Choice {
  readonly group?: string;
  readonly id?: string;
}

export function addTopicCommands(program: Command, io: CliIo): void {
  const topic = program
    .command("topic")
    .description("topics: who handles them, what waits, and messages that could not be handled");
  addList(topic, io);
  addDead(topic, io);
  addRetry(topic, io);
  addDrop(topic, io);
}

function addList(topic: Command, io: CliIo): void {
  topic
    .command("list")
    .description("topics, the slices that handle them, and how many messages wait or were put aside")
    .addHelpText("after", "\nExample:\n  $ aether topic list")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(listSchema, "/v1/topics"), ({ topics }) => {
        if (topics.length === 0) return "no slice handles a topic";
        const rows = topics.flatMap(({ topic: name, groups }) => groups.map((one) =>
          [name, one.group, one.method ?? "(none)", String(one.waiting), String(one.dead)]));
        return table(["TOPIC", "SLICE", "METHOD", "WAITING", "DEAD"], rows);
      });
    });
}

function addDead(topic: Command, io: CliIo): void {
  withChoice(topic.command("dead").description("messages of a topic that were put aside, with their last error"))
    .addHelpText("after", DEAD_HELP)
    .action(async (name: string, { group, id }: Choice, command: Command) => {
      const session = openSession(command, io);
      const choice = { ...(group === undefined ? {} : { group }), ...(id === undefined ? {} : { id }) };
      const path = `${apiPath("/v1/topics", name)}/dead?${new URLSearchParams(choice).toString()}`;
      session.show(await session.api.get(deadSchema, path), ({ messages }) => {
        if (messages.length === 0) return `no message of ${name} was put aside`;
        return table(["SLICE", "ID", "ERROR", "PAYLOAD"], messages.map((message) => {
          const { error: { code, message: reason } } = message;
          return [message.group, message.id, printable(`${code}: ${reason}`), shown(message.payload)];
        }));
      });
    });
}

function addRetry(topic: Command, io: CliIo): void {
  withChoice(topic.command("retry").description("publish messages that were put aside anew"))
    .addHelpText("after", RETRY_HELP)
    .action(async (name: string, choice: Choice, command: Command) => {
      const session = openSession(command, io);
      const path = `${apiPath("/v1/topics", name)}/dead/retry`;
      const done = await session.api.request(retriedSchema, "POST", path, bodyOf(choice));
      session.show(done, ({ retried }) => `${retried} messages of ${name} are handed out again`);
    });
}

function addDrop(topic: Command, io: CliIo): void {
  withChoice(topic.command("drop").description("delete messages that were put aside, for good"))
    .option("--all", "all of them, or all of the slice; without it --id says which one")
    .addHelpText("after", DROP_HELP)
    .action(async (name: string, { all, ...choice }: Choice & { readonly all?: boolean }, command: Command) => {
      if (choice.id === undefined && all !== true) throw new UsageError("say which message with --id, or --all");
      const session = openSession(command, io);
      const path = `${apiPath("/v1/topics", name)}/dead/drop`;
      const done = await session.api.request(droppedSchema, "POST", path, bodyOf(choice));
      session.show(done, ({ dropped }) => `${dropped} messages of ${name} are deleted`);
    });
}

function withChoice(command: Command): Command {
  return command
    .argument("<topic>", "name of the topic")
    .option("--group <slice>", "only those of this slice")
    .option("--id <id>", "only this one");
}

function bodyOf({ group, id }: Choice): ApiRequestOptions {
  return { json: { group, id }, headers: { "x-deadline-ms": String(TIMEOUT_MS) }, timeoutMs: TIMEOUT_MS };
}

function shown(payload: unknown): string {
  const text = printable(JSON.stringify(payload) ?? "");
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
}

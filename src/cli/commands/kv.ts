// Owns: `aether kv get | put | delete | list | watch`.
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { JSON_CONTENT } from "../http-api.ts";
import { followUntilInterrupt } from "../interrupt.ts";
import { followChanges } from "../kv-follow.ts";
import { openSession, type Session } from "../options.ts";
import type { ReceivedEvent } from "../sse.ts";
import { table } from "../table.ts";
import { parseJsonArgument, readArgument } from "../text-input.ts";
import { UsageError } from "../usage-error.ts";
import { parseLease } from "./lease.ts";

const PAGE_ENTRIES_MAX = 1_000;
const VALUE_COLUMN_MAX = 80;

const PUT_EXAMPLES = `
Examples:
  $ aether kv put data/limits '{"max": 3}'
  $ aether kv put data/greeting hello --text`;

const entrySchema = z.object({
  key: z.string(),
  value: z.unknown(),
  modRevision: z.number(),
  createRevision: z.number(),
  version: z.number(),
  lease: z.number().optional(),
});
const readSchema = entrySchema.extend({ revision: z.number() });
const pageSchema = z.object({ entries: z.array(entrySchema), revision: z.number(), more: z.boolean() });
const putSchema = z.object({ revision: z.number() });
const deleteSchema = z.object({ revision: z.number(), deleted: z.boolean() });
const changeSchema = z.object({ key: z.string(), value: z.unknown(), modRevision: z.number() });

interface ReadFlags {
  readonly local?: boolean;
  readonly revision?: number;
}

interface ConditionFlags {
  readonly ifRevision?: number;
  readonly ifAbsent?: boolean;
}

interface PutFlags extends ConditionFlags {
  readonly text?: boolean;
  readonly lease?: number;
}

export function addKvCommands(program: Command, io: CliIo): void {
  const kv = program
    .command("kv")
    .description("read and write the cluster's key-value store; your keys begin with data/");
  addGet(kv, io);
  addPut(kv, io);
  addDelete(kv, io);
  addList(kv, io);
  addWatch(kv, io);
}

function addGet(kv: Command, io: CliIo): void {
  kv.command("get")
    .description("print the value of a key")
    .argument("<key>", "for example data/greeting")
    .option("--local", "what the node itself has applied, without asking a quorum")
    .option("--revision <n>", "as it was at this revision", parseRevision)
    .addHelpText("after", "\nExample:\n  $ aether kv get data/greeting")
    .action(async (key: string, flags: ReadFlags, command: Command) => {
      const session = openSession(command, io);
      const query = new URLSearchParams(readQuery(flags)).toString();
      const entry = await session.api.get(readSchema, `${keyPath(key)}${query === "" ? "" : `?${query}`}`);
      session.show(entry, ({ value }) => JSON.stringify(value, undefined, 2));
    });
}

function addPut(kv: Command, io: CliIo): void {
  kv.command("put")
    .description("write a key")
    .argument("<key>", "for example data/greeting")
    .argument("<value>", "JSON, @FILE, or - for stdin")
    .option("--text", "take the value as text, not as JSON")
    .option("--if-revision <n>", "only if the key's modRevision is this", parseRevision)
    .option("--if-absent", "only if the key does not exist")
    .option("--lease <number>", "delete the key when this lease ends", parseLease)
    .addHelpText("after", PUT_EXAMPLES)
    .action(async (key: string, argument: string, flags: PutFlags, command: Command) => {
      const session = openSession(command, io);
      const text = await readArgument(io, argument);
      const value = flags.text === true ? text : parseJsonArgument(text, "VALUE");
      const body = JSON.stringify(value);
      const path = `${keyPath(key)}${flags.lease === undefined ? "" : `?lease=${flags.lease}`}`;
      const answer = await session.api.request(putSchema, "PUT", path, { body, headers: conditions(flags) });
      session.show(answer, ({ revision }) => `written at revision ${revision}`);
    });
}

function addDelete(kv: Command, io: CliIo): void {
  kv.command("delete")
    .description("delete a key")
    .argument("<key>", "for example data/greeting")
    .option("--if-revision <n>", "only if the key's modRevision is this", parseRevision)
    .addHelpText("after", "\nExample:\n  $ aether kv delete data/greeting")
    .action(async (key: string, flags: ConditionFlags, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(deleteSchema, "DELETE", keyPath(key), { headers: conditions(flags) });
      session.show(answer, ({ revision, deleted }) =>
        deleted ? `deleted at revision ${revision}` : "there was no such key",
      );
    });
}

function addList(kv: Command, io: CliIo): void {
  kv.command("list")
    .description("list keys with a prefix, in order")
    .argument("[prefix]", "for example data/ or slices/n1/", "data/")
    .option("--limit <n>", "at most so many", parseCount, PAGE_ENTRIES_MAX)
    .option("--after <key>", "only keys after this one")
    .option("--local", "what the node itself has applied, without asking a quorum")
    .option("--revision <n>", "as it was at this revision", parseRevision)
    .addHelpText("after", "\nExamples:\n  $ aether kv list data/orders/\n  $ aether kv list slices/ --json")
    .action(async (prefix: string, flags: ReadFlags & { limit: number; after?: string }, command: Command) => {
      const session = openSession(command, io);
      const page = await listKeys(session, prefix, flags);
      session.show(page, pageText);
    });
}

/** Asks for page after page until the limit or the end is reached; all are of the first one's revision. */
async function listKeys(
  session: Session,
  prefix: string,
  flags: ReadFlags & { readonly limit: number; readonly after?: string },
): Promise<z.output<typeof pageSchema>> {
  const entries: z.output<typeof entrySchema>[] = [];
  let { after, revision } = flags;
  for (;;) {
    const limit = String(Math.min(flags.limit - entries.length, PAGE_ENTRIES_MAX));
    const read = readQuery({ ...flags, ...(revision === undefined ? {} : { revision }) });
    const query = new URLSearchParams({ prefix, limit, ...read, ...(after === undefined ? {} : { after }) });
    const page = await session.api.get(pageSchema, `/v1/kv?${query.toString()}`);
    entries.push(...page.entries);
    after = page.entries.at(-1)?.key;
    ({ revision } = page);
    const isFull = entries.length >= flags.limit;
    if (!page.more || isFull || after === undefined) return { entries, revision: page.revision, more: page.more };
  }
}

function pageText(page: z.output<typeof pageSchema>): string {
  const rows = page.entries.map((entry) => [entry.key, String(entry.modRevision), shortValue(entry.value)]);
  const more = page.more ? `\n… and more: --after ${page.entries.at(-1)?.key ?? ""} --revision ${page.revision}` : "";
  return page.entries.length === 0 ? "no keys" : `${table(["KEY", "REVISION", "VALUE"], rows)}${more}`;
}

function addWatch(kv: Command, io: CliIo): void {
  kv.command("watch")
    .description("print changes below a prefix until Ctrl-C")
    .argument("[prefix]", "for example data/", "data/")
    .option("--from <revision>", "begin with this revision instead of the next one", parseRevision)
    .addHelpText("after", "\nExamples:\n  $ aether kv watch data/orders/ --json\n  $ aether kv watch --from 1200")
    .action(async (prefix: string, { from }: { readonly from?: number }, command: Command) => {
      const session = openSession(command, io);
      await followUntilInterrupt(io, (signal) =>
        followChanges(session, { prefix, from, signal }, (events) => {
          for (const event of events) printChange(session, event);
        }));
    });
}

function printChange(session: Session, event: ReceivedEvent): void {
  const data: unknown = JSON.parse(event.data);
  switch (event.event) {
    case "put":
    case "delete": {
      const change = changeSchema.parse(data);
      session.show({ event: event.event, ...change }, (shown) =>
        shown.event === "put"
          ? `${shown.modRevision} put ${shown.key} ${shortValue(shown.value)}`
          : `${shown.modRevision} delete ${shown.key}`,
      );
      return;
    }
    default:
      // Signs of life carry nothing to show.
      return;
  }
}

function keyPath(key: string): string {
  const segments = key.split("/");
  // As a path it would be the listing.
  if (key === "") throw new UsageError('"" is not a key: use one like data/greeting');
  if (segments.some((segment) => segment === "." || segment === "..")) {
    throw new UsageError(`"${key}" is not a key: "." and ".." cannot be parts of one`);
  }
  return `/v1/kv/${segments.map(encodeURIComponent).join("/")}`;
}

function readQuery({ local, revision }: ReadFlags): Record<string, string> {
  return {
    ...(local === true ? { consistency: "local" } : {}),
    ...(revision === undefined ? {} : { revision: String(revision) }),
  };
}

function conditions(flags: ConditionFlags): Record<string, string> {
  return {
    ...JSON_CONTENT,
    ...(flags.ifRevision === undefined ? {} : { "if-match": String(flags.ifRevision) }),
    ...(flags.ifAbsent === true ? { "if-none-match": "*" } : {}),
  };
}

function shortValue(value: unknown): string {
  const text = JSON.stringify(value) ?? "";
  return text.length <= VALUE_COLUMN_MAX ? text : `${text.slice(0, VALUE_COLUMN_MAX - 1)}…`;
}

function parseRevision(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("use a revision, for example 17");
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("use a number from 1");
}

// Owns: `aether job signal | resolve`: what is told to jobs.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../../base/errors.ts";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, jobSchema, type ShownTool } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";
import { UsageError } from "../../usage-error.ts";
import { BULK_HELP, doToMany, hasFilters, isBulk, withBulkFlags, type BulkFlags } from "./bulk.ts";

const toldSchema = z.object({ job: z.string() });

const SIGNAL_HELP = `
The job gets it when it waits for a signal of this name, now or later. With filters there is no JOB: all of their jobs
that have not ended get it, under the same --key each.
${BULK_HELP}

Examples:
  $ aether job signal claim-17 documents-received '{"url": "https://example.org/1"}'
  $ aether job signal claim-17 go --key mail-4711
  $ aether job signal go --agent claims --waiting signal --key mail-4711 --dry-run`;

const RESOLVE_HELP = `
For calls that aether job show gives as UNKNOWN: they may have happened, and nobody but you can find out. CALL is the
name of the call, or its effect id, of which the beginning is enough. With filters instead of JOB and CALL it is said of
all such calls of their jobs, or of those of one --tool.
${BULK_HELP}

Examples:
  $ aether job resolve claim-17 refund#1 --done '{"id": "re_17"}'
  $ aether job resolve claim-17 3f2a91 --not-done
  $ aether job resolve claim-17 refund#1 --fail "the shop is closed"
  $ aether job resolve --agent claims --waiting unknown --tool refund --not-done --dry-run`;

interface SignalFlags extends BulkFlags {
  readonly key?: string;
}

export function addSignalCommand(group: Command, io: CliIo): void {
  const command = group
    .command("signal")
    .description("send a signal to a job, or to all jobs of a filter")
    .argument("[job]", "id of the job; none with filters")
    .argument("[name]", "name of the signal")
    .argument("[payload]", "payload as JSON, @FILE, or - for stdin");
  withBulkFlags(command)
    .option("--key <key>", "idempotency key: sent again with the same one it is the same signal")
    .addHelpText("after", SIGNAL_HELP)
    .action(async (
      first: string | undefined, second: string | undefined, third: string | undefined, flags: SignalFlags,
      made: Command,
    ) => {
      const session = openSession(made, io);
      const args = [first, second, third];
      const [job, name, given, ...more] = hasFilters(flags) ? [undefined, ...args] : args;
      isBulk(job, flags);
      if (name === undefined) throw new UsageError("say which signal is meant");
      if (more.some((text) => text !== undefined)) throw new UsageError("with filters say NAME and PAYLOAD only");
      const payload = given === undefined ? undefined : parseJsonArgument(await readArgument(io, given), "PAYLOAD");
      if (job === undefined) await signalMany(session, flags, { name, payload });
      else await signalOne(session, job, { name, payload, key: flags.key });
    });
}

async function signalOne(
  session: Session,
  job: string,
  { name, payload, key }: { readonly name: string; readonly payload: unknown; readonly key: string | undefined },
): Promise<void> {
  const told = await session.api.request(toldSchema, "POST", apiPath(JOBS, job, "signals", name), {
    json: payload, ...(key === undefined ? {} : { headers: { "idempotency-key": key } }),
  });
  session.show(told, () => `signal ${name} is stored for job ${job}`);
}

async function signalMany(
  session: Session, flags: SignalFlags, { name, payload }: { readonly name: string; readonly payload: unknown },
): Promise<void> {
  await doToMany(session, flags, {
    action: { kind: "signal", name, payload, idempotencyKey: flags.key },
    done: `have signal ${name} stored for them`,
    wouldBe: `would have signal ${name} stored for them`,
  });
}

interface ResolveFlags extends BulkFlags {
  readonly tool?: string;
  readonly done?: string;
  readonly notDone?: boolean;
  readonly fail?: string;
}

export function addResolveCommand(group: Command, io: CliIo): void {
  const command = group
    .command("resolve")
    .description("say what became of a call of a tool that nobody knows about, or of all such calls of many jobs")
    .argument("[job]", "id of the job")
    .argument("[call]", "name of the call, or the beginning of its effect id");
  withBulkFlags(command)
    .option("--tool <name>", "with filters: only calls of this tool")
    .option("--done <result>", "it happened, with this result: JSON, @FILE, or - for stdin")
    .option("--not-done", "it did not happen, and is made again")
    .option("--fail <reason>", "give it up: the job fails")
    .addHelpText("after", RESOLVE_HELP)
    .action(async (job: string | undefined, call: string | undefined, flags: ResolveFlags, made: Command) => {
      const session = openSession(made, io);
      const isOfMany = isBulk(job, flags);
      if (!isOfMany && call === undefined) throw new UsageError("say which call is meant");
      if (!isOfMany && flags.tool !== undefined) throw new UsageError("--tool goes with filters: name the call");
      const resolution = await resolutionOf(io, flags);
      if (job === undefined || call === undefined) return await resolveMany(session, flags, resolution);
      const { effectId, call: name } = await findCall(session, job, call);
      const path = `${apiPath(JOBS, job, "tools", effectId)}/resolve`;
      const told = await session.api.request(toldSchema, "POST", path, { json: resolution });
      session.show(told, () => `job ${job} is told that ${name} is ${resolution.kind}`);
    });
}

async function resolveMany(session: Session, flags: ResolveFlags, resolution: GivenResolution): Promise<void> {
  const action = { kind: "resolve", tool: flags.tool, resolution };
  await doToMany(session, flags, {
    action,
    done: `are told that their calls are ${resolution.kind}`,
    wouldBe: `would be told that their calls are ${resolution.kind}`,
  });
}

interface GivenResolution {
  readonly kind: string;
  readonly result?: unknown;
  readonly reason?: string;
}

async function resolutionOf(
  io: CliIo, { done, notDone, fail }: ResolveFlags,
): Promise<GivenResolution> {
  const given = [done, notDone, fail].filter((flag) => flag !== undefined);
  if (given.length !== 1) throw new UsageError("say one of --done RESULT, --not-done and --fail REASON");
  if (done !== undefined) return { kind: "done", result: parseJsonArgument(await readArgument(io, done), "RESULT") };
  return fail === undefined ? { kind: "not-done" } : { kind: "given-up", reason: fail };
}

async function findCall({ api }: Session, job: string, call: string): Promise<ShownTool> {
  const { tools } = await api.get(jobSchema, apiPath(JOBS, job));
  const named = tools.filter((tool) => tool.call === call);
  const found = named.length > 0 ? named : tools.filter(({ effectId }) => effectId.startsWith(call.toLowerCase()));
  const [first, ...others] = found;
  if (first === undefined) {
    const names = tools.map((tool) => tool.call).join(", ");
    throw new AetherError("E_NOT_FOUND", `job ${job} has no call "${call}"${names === "" ? "" : `; it has ${names}`}`);
  }
  if (others.length === 0) return first;
  throw new AetherError("E_INVALID", `"${call}" is the beginning of ${found.length} effect ids; give more of it`);
}

// Owns: `aether job signal | resolve`: what is told to jobs.
import type { Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../../base/errors.ts";
import type { CliIo } from "../../cli-io.ts";
import { JOBS, jobSchema, type ShownTool } from "../../job-answers.ts";
import { apiPath, openSession, type Session } from "../../options.ts";
import { parseJsonArgument, readArgument } from "../../text-input.ts";
import { UsageError } from "../../usage-error.ts";

const toldSchema = z.object({ job: z.string() });
const JSON_TYPE = { "content-type": "application/json" };

const SIGNAL_HELP = `
The job gets it when it waits for a signal of this name, now or later.

Examples:
  $ aether job signal claim-17 documents-received '{"url": "https://example.org/1"}'
  $ aether job signal claim-17 go --key mail-4711`;

const RESOLVE_HELP = `
For calls that aether job show gives as UNKNOWN: they may have happened, and nobody but you can find out. CALL is the
name of the call, or its effect id, of which the beginning is enough.

Examples:
  $ aether job resolve claim-17 refund#1 --done '{"id": "re_17"}'
  $ aether job resolve claim-17 3f2a91 --not-done
  $ aether job resolve claim-17 refund#1 --fail "the shop is closed"`;

export function addSignalCommand(group: Command, io: CliIo): void {
  group
    .command("signal")
    .description("send a job a signal")
    .argument("<job>", "id of the job")
    .argument("<name>", "name of the signal")
    .argument("[payload]", "payload as JSON, @FILE, or - for stdin")
    .option("--key <key>", "idempotency key: sent again with the same one it is the same signal")
    .addHelpText("after", SIGNAL_HELP)
    .action(async (
      job: string, name: string, payload: string | undefined, { key }: { readonly key?: string }, command: Command,
    ) => {
      const session = openSession(command, io);
      const body = payload === undefined ? undefined : await readArgument(io, payload);
      if (body !== undefined) parseJsonArgument(body, "PAYLOAD");
      const told = await session.api.request(toldSchema, "POST", `${apiPath(JOBS, job, "signals", name)}`, {
        headers: { ...JSON_TYPE, ...(key === undefined ? {} : { "idempotency-key": key }) },
        ...(body === undefined ? {} : { body }),
      });
      session.show(told, () => `signal ${name} is stored for job ${job}`);
    });
}

interface ResolveFlags {
  readonly done?: string;
  readonly notDone?: boolean;
  readonly fail?: string;
}

export function addResolveCommand(group: Command, io: CliIo): void {
  group
    .command("resolve")
    .description("say what became of a call of a tool that nobody knows about")
    .argument("<job>", "id of the job")
    .argument("<call>", "name of the call, or the beginning of its effect id")
    .option("--done <result>", "it happened, with this result: JSON, @FILE, or - for stdin")
    .option("--not-done", "it did not happen, and is made again")
    .option("--fail <reason>", "give it up: the job fails")
    .addHelpText("after", RESOLVE_HELP)
    .action(async (job: string, call: string, flags: ResolveFlags, command: Command) => {
      const session = openSession(command, io);
      const resolution = await resolutionOf(io, flags);
      const { effectId, call: name } = await findCall(session, job, call);
      const path = `${apiPath(JOBS, job, "tools", effectId)}/resolve`;
      const told = await session.api.request(toldSchema, "POST", path, {
        headers: JSON_TYPE, body: JSON.stringify(resolution),
      });
      session.show(told, () => `job ${job} is told that ${name} is ${resolution.kind}`);
    });
}

async function resolutionOf(
  io: CliIo, { done, notDone, fail }: ResolveFlags,
): Promise<{ readonly kind: string; readonly result?: unknown; readonly reason?: string }> {
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

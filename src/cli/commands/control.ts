// Owns: `aether control …`: the rules by which slices are scaled, and a person's word about it.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { parseInstances } from "../instances.ts";
import { apiPath, openSession } from "../options.ts";
import { table } from "../table.ts";
import { readText } from "../text-input.ts";
import { addRecordCommand } from "./control-record.ts";
import { addSimulateCommand } from "./control-simulate.ts";

const CONTROL = "/v1/control";
const RULES = `${CONTROL}/rules`;

const appliedSchema = z.object({ rules: z.number() });
const rulesSchema = z.object({ text: z.string(), by: z.string(), atMs: z.number() });
const heldSchema = z.object({ by: z.string(), reason: z.string().optional(), at: z.number() });
const sliceSchema = z.looseObject({
  slice: z.string(),
  blueprint: z.string(),
  base: z.number(),
  instances: z.number(),
  active: z.number(),
  min: z.number(),
  max: z.number(),
  pinnedBy: z.string().optional(),
  change: z.looseObject({ direction: z.string(), source: z.string(), reason: z.string(), at: z.number() }).optional(),
});
const decisionSchema = z.looseObject({
  kind: z.string(), slice: z.string(), source: z.string(), reason: z.string(),
  from: z.number().optional(), to: z.number().optional(), code: z.string().optional(),
});
const statusSchema = z.looseObject({
  rules: z.looseObject({ count: z.number(), at: z.number() }).nullable(),
  paused: heldSchema.nullable(),
  leader: z.string().nullable(),
  slices: z.array(sliceSchema),
  decisions: z.array(z.looseObject({ decision: decisionSchema, lastMs: z.number(), times: z.number() })),
});
type Status = z.output<typeof statusSchema>;

interface HoldFlags {
  readonly reason?: string;
}

export function addControlCommands(program: Command, io: CliIo): void {
  const control = program.command("control").description("scale slices by rules: apply, watch, pause, pin, try out");
  addApply(control, io);
  addShow(control, io);
  addStatus(control, io);
  addRemove(control, io);
  addPause(control, io);
  addResume(control, io);
  addPin(control, io);
  addUnpin(control, io);
  addRecordCommand(control, io);
  addSimulateCommand(control, io);
}

function addApply(control: Command, io: CliIo): void {
  control
    .command("apply")
    .description("put the rules of a file in the place of all others")
    .argument("<file>", "rules in YAML or JSON")
    .addHelpText("after", "\nExample:\n  $ aether control apply rules.yaml")
    .action(async (file: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const body = await readText(io, file);
      const applied = await session.api.request(appliedSchema, "PUT", RULES, { body });
      session.show(applied, ({ rules }) => `${rules} rules apply from now on`);
    });
}

function addShow(control: Command, io: CliIo): void {
  control
    .command("show")
    .description("print the rules as they were written")
    .addHelpText("after", "\nExample:\n  $ aether control show > rules.yaml")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(rulesSchema, RULES), ({ text }) => text.trimEnd());
    });
}

function addStatus(control: Command, io: CliIo): void {
  control
    .command("status")
    .description("how slices stand, who holds them, and what was decided lately")
    .addHelpText("after", "\nDecisions are told by the node that leads: ask it with --api.\n\n" +
      "Example:\n  $ aether control status")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(statusSchema, CONTROL), statusText);
    });
}

function addRemove(control: Command, io: CliIo): void {
  control
    .command("remove")
    .description("remove all rules: slices go back to what their blueprints say")
    .addHelpText("after", "\nExample:\n  $ aether control remove")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(appliedSchema, "DELETE", RULES);
      session.show(answer, () => "there are no rules any more; slices go back to what their blueprints say");
    });
}

function addPause(control: Command, io: CliIo): void {
  control
    .command("pause")
    .description("scale nothing until it is resumed")
    .option("--reason <text>", "why, for whoever looks")
    .addHelpText("after", '\nExample:\n  $ aether control pause --reason "a load test"')
    .action(async (flags: HoldFlags, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(z.unknown(), "POST", `${CONTROL}/pause`, {
        json: { reason: flags.reason },
      });
      session.show(answer, () => "nothing is scaled until: aether control resume");
    });
}

function addResume(control: Command, io: CliIo): void {
  control
    .command("resume")
    .description("scale again")
    .addHelpText("after", "\nExample:\n  $ aether control resume")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(z.unknown(), "POST", `${CONTROL}/resume`);
      session.show(answer, () => "slices are scaled again");
    });
}

function addPin(control: Command, io: CliIo): void {
  control
    .command("pin")
    .description("keep a slice as it is, or at a number of instances, whatever rules say")
    .argument("<slice>", "name of the slice")
    .argument("[instances]", "how many; as many as now without it", parseInstances)
    .option("--reason <text>", "why, for whoever looks")
    .addHelpText("after", "\nExample:\n  $ aether control pin orders 5 --reason sale")
    .action(async (slice: string, instances: number | undefined, flags: HoldFlags, command: Command) => {
      const session = openSession(command, io);
      const json = { ...(instances !== undefined && { instances }), ...(flags.reason !== undefined && flags) };
      const answer = await session.api.request(z.unknown(), "PUT", apiPath(`${CONTROL}/pins`, slice), { json });
      const at = instances === undefined ? "as it is" : `at ${instances} instances`;
      session.show(answer, () => `${slice} stays ${at} until: aether control unpin ${slice}`);
    });
}

function addUnpin(control: Command, io: CliIo): void {
  control
    .command("unpin")
    .description("let rules change a slice again")
    .argument("<slice>", "name of the slice")
    .addHelpText("after", "\nExample:\n  $ aether control unpin orders")
    .action(async (slice: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(z.unknown(), "DELETE", apiPath(`${CONTROL}/pins`, slice));
      session.show(answer, () => `rules may change ${slice} again`);
    });
}

function statusText({ rules, paused, leader, slices, decisions }: Status): string {
  const head = rules === null ? "no rules" : `${rules.count} rules since ${timeOf(rules.at)}`;
  const hold = paused === null ? "" : `\nPAUSED by ${paused.by} since ${timeOf(paused.at)}: ${paused.reason ?? "-"}`;
  const rows = slices.map(({ slice, base, instances, active, min, max, pinnedBy, change }) => [
    slice, String(base), `${active}/${instances}`, `${min}-${max}`, pinnedBy ?? "-",
    change === undefined ? "-" : `${timeOf(change.at)} ${change.direction} by ${change.source}: ${change.reason}`,
  ]);
  const stand = table(["SLICE", "BLUEPRINT", "ACTIVE", "BOUNDS", "PINNED BY", "LAST CHANGE"], rows);
  const made = decisions.map(({ decision, lastMs, times }) => [
    timeOf(lastMs), decision.slice, decision.source, whatOf(decision), decision.reason, times > 1 ? `${times}×` : "",
  ]);
  const told = made.length === 0
    ? `no decisions on this node; ${leader ?? "nobody"} leads`
    : table(["WHEN", "SLICE", "SOURCE", "DECISION", "REASON", ""], made);
  return `${head}${hold}\n\n${stand}\n\n${told}`;
}

function whatOf({ kind, from, to, code }: z.output<typeof decisionSchema>): string {
  if (kind === "scale") return `${from ?? "?"} → ${to ?? "?"}`;
  return code === undefined ? kind : `${kind}: ${code}`;
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

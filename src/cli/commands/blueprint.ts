// Owns: `aether blueprint validate | apply | rollback | status | delete`.
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { parseBlueprintDocument } from "../../sdk/blueprint.ts";
import type { CliIo } from "../cli-io.ts";
import { apiPath, openSession, type Session } from "../options.ts";
import { table } from "../table.ts";
import { readYaml } from "../text-input.ts";
import { UsageError } from "../usage-error.ts";

const POLL_MS = 250;
const WAIT_SECONDS_DEFAULT = 60;
const BLUEPRINTS = "/v1/blueprints";

const appliedSchema = z.object({ name: z.string(), revision: z.number() });
const rolledBackSchema = z.object({ revision: z.number(), rolledBackTo: z.number() });
const instanceSchema = z.object({
  node: z.string(),
  instance: z.number().optional(),
  artifact: z.string().optional(),
  state: z.string(),
  since: z.number(),
  error: z.unknown().optional(),
});
const rolloutSchema = z.object({
  strategy: z.string(),
  stage: z.string(),
  from: z.object({ artifact: z.string(), revision: z.number() }),
  to: z.object({ artifact: z.string(), revision: z.number() }),
  targetPercent: z.number().optional(),
  reason: z.string().optional(),
  waitsFor: z.object({ message: z.string() }).optional(),
});
const scheduleSchema = z.object({
  cron: z.string(),
  timeZone: z.string(),
  method: z.string(),
  last: z.object({
    state: z.string(),
    tick: z.number(),
    error: z.object({ code: z.string(), message: z.string() }).optional(),
  }).optional(),
});
const sliceSchema = z.object({
  artifact: z.string(),
  want: z.number(),
  active: z.number(),
  instances: z.array(instanceSchema),
  unplaced: z.object({ count: z.number(), reason: z.string() }).optional(),
  waitsFor: z.array(z.string()).optional(),
  rollout: rolloutSchema.optional(),
  schedules: z.record(z.string(), scheduleSchema).optional(),
});
const statusSchema = z.object({
  name: z.string(),
  revision: z.number(),
  slices: z.record(z.string(), sliceSchema),
});
type Status = z.output<typeof statusSchema>;
type Instance = z.output<typeof instanceSchema>;

interface WaitFlags {
  readonly wait?: boolean;
  readonly timeout: number;
}

interface ApplyFlags extends WaitFlags {
  readonly name?: string;
}

interface RollbackFlags extends WaitFlags {
  readonly to?: number;
}

const UNPLACED_TEXT: Readonly<Record<string, string>> = {
  "no-node": "no node is on duty",
  labels: "no node on duty has the labels",
  capacity: "no node on duty has the memory left",
};

export function addBlueprintCommands(program: Command, io: CliIo): void {
  const blueprint = program.command("blueprint").description("say what should run, and see what does");
  addValidate(blueprint, io);
  addApply(blueprint, io);
  addRollback(blueprint, io);
  addStatus(blueprint, io);
  addDelete(blueprint, io);
}

function addValidate(blueprint: Command, io: CliIo): void {
  blueprint
    .command("validate")
    .description("check a blueprint's form without a cluster")
    .argument("<file>", "YAML or JSON")
    .addHelpText("after", "\nExample:\n  $ aether blueprint validate shop.yaml")
    .action(async (file: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const document = parseBlueprintDocument(await readYaml(io, file));
      session.show(document, ({ slices }) => `${file} is valid: ${Object.keys(slices).length} slices`);
    });
}

function addApply(blueprint: Command, io: CliIo): void {
  blueprint
    .command("apply")
    .description("make this blueprint the desired state")
    .argument("<file>", "YAML or JSON")
    .option("--name <name>", "name of the blueprint, if the file has none")
    .option("--wait", "wait until every instance is ACTIVE, and show how they get there")
    .option("--timeout <seconds>", "with --wait: how long", parseSeconds, WAIT_SECONDS_DEFAULT)
    .addHelpText("after", "\nExample:\n  $ aether blueprint apply shop.yaml --wait")
    .action(async (file: string, flags: ApplyFlags, command: Command) => {
      const session = openSession(command, io);
      const document = parseBlueprintDocument(await readYaml(io, file));
      const name = document.name ?? flags.name;
      if (flags.name !== undefined && flags.name !== name) {
        throw new UsageError(`${file} is named "${name}", but --name is "${flags.name}": use one of them`);
      }
      if (name === undefined) throw new UsageError(`${file} has no name: add "name: …", or use --name`);
      const applied = await session.api.request(appliedSchema, "PUT", apiPath(BLUEPRINTS, name), {
        json: document,
      });
      if (flags.wait === true) await waitUntilActive(session, name, flags.timeout);
      session.show(applied, ({ revision }) => `blueprint ${name} is at revision ${revision}`);
    });
}

function addRollback(blueprint: Command, io: CliIo): void {
  blueprint
    .command("rollback")
    .description("make an earlier revision the desired state again")
    .argument("<name>", "name of the blueprint")
    .option("--to <revision>", "which one; without it the newest that differs from the current one", parseRevision)
    .option("--wait", "wait until every instance is ACTIVE, and show how they get there")
    .option("--timeout <seconds>", "with --wait: how long", parseSeconds, WAIT_SECONDS_DEFAULT)
    .addHelpText("after", "\nExample:\n  $ aether blueprint rollback shop --wait")
    .action(async (name: string, flags: RollbackFlags, command: Command) => {
      const session = openSession(command, io);
      const rolledBack = await session.api.request(rolledBackSchema, "POST", `${apiPath(BLUEPRINTS, name)}/rollback`, {
        json: { revision: flags.to },
      });
      if (flags.wait === true) await waitUntilActive(session, name, flags.timeout);
      session.show({ name, ...rolledBack }, ({ revision, rolledBackTo }) =>
        `blueprint ${name} is at revision ${revision}, which is revision ${rolledBackTo} again`,
      );
    });
}

function addStatus(blueprint: Command, io: CliIo): void {
  blueprint
    .command("status")
    .description("wanted and actual instances")
    .argument("<name>", "name of the blueprint")
    .addHelpText("after", "\nExample:\n  $ aether blueprint status shop")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await readStatus(session, name), statusText);
    });
}

function addDelete(blueprint: Command, io: CliIo): void {
  blueprint
    .command("delete")
    .description("delete a blueprint; its instances are stopped")
    .argument("<name>", "name of the blueprint")
    .addHelpText("after", "\nExample:\n  $ aether blueprint delete shop")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const answer = await session.api.request(z.unknown(), "DELETE", apiPath(BLUEPRINTS, name));
      session.show(answer, () => `blueprint ${name} is deleted; its instances stop`);
    });
}

function readStatus(session: Session, name: string): Promise<Status> {
  return session.api.get(statusSchema, `${apiPath(BLUEPRINTS, name)}/status`);
}

/**
 * Reports each instance that changed its state, until all wanted ones are ACTIVE and no other version runs.
 * @throws AetherError E_TIMEOUT; E_ROLLED_BACK when a new version did not work
 */
export async function waitUntilActive(session: Session, name: string, seconds: number): Promise<void> {
  const { io } = session;
  const startMs = io.nowMs();
  const shown = new Map<string, string>();
  for (;;) {
    const status = await readStatus(session, name);
    reportChanges(io, status, shown);
    const slices = Object.entries(status.slices);
    const turned = slices.filter(([, slice]) => slice.rollout?.stage === "rolled-back");
    if (turned.length > 0) throw rolledBack(turned);
    const missing = slices.filter(([, slice]) => slice.active < slice.want || isUnderWay(slice));
    if (missing.length === 0) return;
    if (io.nowMs() - startMs > seconds * 1_000) {
      const found = missing.map(([slice, wanted]) => missingText(slice, wanted)).join(", ");
      throw new AetherError("E_TIMEOUT", `not all instances are ACTIVE after ${seconds} s: ${found}; it is applied`, {
        outcome: "none",
      });
    }
    await io.sleep(POLL_MS);
  }
}

function isUnderWay({ rollout }: Status["slices"][string]): boolean {
  return rollout !== undefined && rollout.stage !== "done" && rollout.stage !== "rolled-back";
}

function rolledBack(slices: readonly (readonly [string, Status["slices"][string]])[]): AetherError {
  const found = slices.map(([slice, { rollout }]) =>
    `${slice} runs ${rollout?.from.artifact} again: ${rollout?.reason ?? "no reason was given"}`);
  return new AetherError("E_ROLLED_BACK", found.join("; "), { outcome: "none" });
}

function reportChanges(io: CliIo, status: Status, shown: Map<string, string>): void {
  for (const [slice, { instances }] of Object.entries(status.slices)) {
    for (const instance of instances) {
      const what = `${instance.artifact ?? slice}/${instance.instance ?? 0} on ${instance.node}`;
      const line = `${what}: ${instance.state}${errorText(instance)}`;
      if (shown.get(what) === line) continue;
      shown.set(what, line);
      io.report(line);
    }
  }
}

function statusText(status: Status): string {
  const rows = Object.entries(status.slices).flatMap(([slice, { artifact, want, active, instances }]) => {
    const head = [slice, artifact, `${active}/${want}`];
    if (instances.length === 0) return [[...head, "-", "-", ""]];
    return instances.map((instance, index) => [
      ...(index === 0 ? head : ["", "", ""]),
      instance.node,
      instance.state,
      errorText(instance).trim(),
    ]);
  });
  const heads = ["SLICE", "ARTIFACT", "ACTIVE", "NODE", "STATE", "ERROR"];
  const reasons = Object.entries(status.slices).flatMap(([slice, wanted]) => {
    const isMissing = wanted.unplaced !== undefined || wanted.waitsFor !== undefined || isUnderWay(wanted);
    return isMissing || wanted.rollout?.stage === "rolled-back" ? `\n${missingText(slice, wanted)}` : [];
  });
  const text = `blueprint ${status.name}, revision ${status.revision}\n\n${table(heads, rows)}${reasons.join("")}`;
  return `${text}${schedulesText(status)}`;
}

function schedulesText({ slices }: Status): string {
  const rows = Object.entries(slices).flatMap(([slice, { schedules = {} }]) =>
    Object.entries(schedules).map(([name, { cron, timeZone, method, last }]) => [
      `${slice}/${name}`,
      `${cron} ${timeZone}`,
      method,
      last === undefined ? "-" : new Date(last.tick).toISOString(),
      last === undefined ? "-" : last.state,
      last?.error === undefined ? "" : `${last.error.code}: ${last.error.message}`,
    ]));
  return rows.length === 0 ? "" : `\n\n${table(["SCHEDULE", "WHEN", "METHOD", "LAST TICK", "STATE", "ERROR"], rows)}`;
}

function missingText(slice: string, { active, want, unplaced, waitsFor, rollout }: Status["slices"][string]): string {
  const awaited = waitsFor === undefined ? "" : ` (waits for ${waitsFor.join(", ")} to serve)`;
  const found = `${slice} ${active} of ${want}${awaited}${rollout === undefined ? "" : ` (${rolloutText(rollout)})`}`;
  if (unplaced === undefined) return found;
  return `${found} (${unplaced.count} without a node: ${UNPLACED_TEXT[unplaced.reason] ?? unplaced.reason})`;
}

function rolloutText(rollout: z.output<typeof rolloutSchema>): string {
  const { strategy, stage, from, to, targetPercent, reason, waitsFor } = rollout;
  const share = targetPercent === undefined || stage !== "shifting" ? "" : ` with ${targetPercent}% of the calls`;
  const versions = from.artifact === to.artifact
    ? `${to.artifact} of revision ${to.revision}, before of revision ${from.revision}`
    : `from ${from.artifact} to ${to.artifact}`;
  const wait = waitsFor === undefined ? undefined : `waits: ${waitsFor.message}`;
  return [`${strategy}, ${stage}${share}: ${versions}`, reason, wait].filter((part) => part !== undefined).join("; ");
}

function errorText(instance: Instance): string {
  if (instance.error === undefined) return "";
  const failure = z.object({ message: z.string() }).or(z.object({ reason: z.string() })).safeParse(instance.error);
  if (!failure.success) return ` ${JSON.stringify(instance.error)}`;
  return ` ${"message" in failure.data ? failure.data.message : failure.data.reason}`;
}

function parseRevision(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new InvalidArgumentError("use the number of a revision");
}

function parseSeconds(text: string): number {
  const value = Number(text);
  if (value > 0 && value <= 3_600) return value;
  throw new InvalidArgumentError("use seconds from 1 to 3600");
}

// Owns: the flags by which commands say which jobs they mean, and how they are sent.
import { InvalidArgumentError, type Command } from "commander";
import { addAttribute } from "./attribute.ts";

const STATUSES = ["pending", "running", "waiting", "completed", "failed", "cancelled"];

export interface FilterFlags {
  readonly agent?: string;
  readonly status?: string;
  readonly waiting?: string;
  /** `from`: of a command whose `--artifact` is another one. */
  readonly artifact?: string;
  readonly from?: string;
  readonly parent?: string;
  readonly createdAfter?: string;
  readonly createdBefore?: string;
  readonly attribute?: Readonly<Record<string, string>>;
}

/** All of them have to hold. `artifactFlag` names the version that the jobs run. */
export function withFilterFlags(command: Command, artifactFlag: "--artifact" | "--from" = "--artifact"): Command {
  return command
    .option("--agent <name>", "jobs of this agent")
    .option("--status <status>", `jobs that are one of ${STATUSES.join(", ")}`, parseStatus)
    .option("--waiting <reason>", "jobs that wait for this: unknown, approval, budget, stuck, restored, timer, …")
    .option(`${artifactFlag} <name@version>`, "jobs that run this version, as group:name@version")
    .option("--parent <id>", "jobs that this one has started")
    .option("--created-after <time>", "jobs started at this time or later, as 2026-01-31T12:00:00Z")
    .option("--created-before <time>", "jobs started before this time")
    .option("--attribute <name=value>", "jobs with this attribute, may be repeated", addAttribute);
}

/** As a listing and a bulk request take them; without `attributes`. */
export function filterOf(flags: FilterFlags): Readonly<Record<string, string>> {
  const { agent, status, waiting, artifact, from = artifact, parent, createdAfter, createdBefore } = flags;
  const given = { agent, status, waiting, artifact: from, parent, createdAfter, createdBefore };
  return Object.fromEntries(Object.entries(given).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]));
}

export function parseCount(max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= 1 && value <= max) return value;
    throw new InvalidArgumentError(`use 1 to ${max}`);
  };
}

function parseStatus(text: string): string {
  if (STATUSES.includes(text)) return text;
  throw new InvalidArgumentError(`use one of ${STATUSES.join(", ")}`);
}

// Owns: `ctx.agents` on the side of the node: reading what a worker asks. Does not own: jobs (the port).
import { sha256 } from "../../base/digest.ts";
import { parseJobId, type JobId } from "../../base/ids.ts";
import { budgetSchema, type Budget } from "../../sdk/budget.ts";
import { nameSchema } from "../../sdk/name.ts";
import { fieldsOf, invalidArgs, optionalNumber, optionalText, textOf, unknownOp, type Fields } from "./service-args.ts";
import type { OpenService, ServiceScope, SliceService } from "./slice-services.ts";

export interface AgentStart {
  readonly agent: string;
  readonly input: unknown;
  readonly id?: JobId;
  readonly idempotencyKey?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly priority?: number;
  readonly budget?: Budget;
  /** W3C trace context of the call whose handler asks. */
  readonly traceparent?: string;
}

export interface AgentSignal {
  readonly name: string;
  readonly payload: unknown;
  readonly idempotencyKey?: string;
}

/** `jobs` implements it, `node` wires it. `by`: the slice that asks. */
export interface AgentJobs {
  /** @throws AetherError with its outcome */
  start(start: AgentStart, by: string, scope: ServiceScope): Promise<{ readonly job: JobId; readonly isNew: boolean }>;
  /** @throws AetherError with its outcome */
  signal(job: JobId, signal: AgentSignal, by: string, scope: ServiceScope): Promise<void>;
}

/** As over HTTP. */
const KEY_CHARS_MAX = 256;
const PRIORITY_MAX = 1_000;

export function openAgentsService(jobs: AgentJobs): OpenService {
  return ({ slice }) => new AgentsService(jobs, slice);
}

class AgentsService implements SliceService {
  private readonly jobs: AgentJobs;
  private readonly slice: string;

  constructor(jobs: AgentJobs, slice: string) {
    this.jobs = jobs;
    this.slice = slice;
  }

  async run(op: string, args: unknown, scope: ServiceScope): Promise<unknown> {
    const fields = fieldsOf(args);
    switch (op) {
      case "start": {
        const { job: id, isNew } = await this.jobs.start(this.readStart(fields), this.slice, scope);
        return { id, isNew };
      }
      case "signal": {
        const name = nameOf(fields, "signal");
        const signal = { name, payload: fields["payload"] ?? null, ...this.keyOf(fields) };
        await this.jobs.signal(parseJobId(textOf(fields, "job")), signal, this.slice, scope);
        return undefined;
      }
      default:
        throw unknownOp("agents", op);
    }
  }

  close(): void {
    // It holds nothing.
  }

  private readStart(fields: Fields): AgentStart {
    const id = optionalText(fields, "id");
    const priority = optionalNumber(fields, "priority");
    const traceparent = optionalText(fields, "traceparent");
    return {
      agent: nameOf(fields, "agent"),
      input: fields["input"] ?? null,
      ...(id !== undefined && { id: parseJobId(id) }),
      ...this.keyOf(fields),
      ...(fields["attributes"] !== undefined && { attributes: attributesOf(fields["attributes"]) }),
      ...(priority !== undefined && { priority: checkedPriority(priority) }),
      ...(fields["budget"] !== undefined && { budget: budgetIn(fields["budget"]) }),
      ...(traceparent !== undefined && { traceparent }),
    };
  }

  /** A key that was given is that of whoever has it; the one of a call is the slice's own. */
  private keyOf(fields: Fields): { readonly idempotencyKey?: string } {
    const given = optionalText(fields, "idempotencyKey");
    if (given !== undefined) return { idempotencyKey: checkedKey(given) };
    const ofCall = optionalText(fields, "callKey");
    return ofCall === undefined ? {} : { idempotencyKey: sha256(`aether-slice-key\n${this.slice}\n${ofCall}`) };
  }
}

function nameOf(fields: Fields, field: string): string {
  const name = textOf(fields, field);
  if (nameSchema.safeParse(name).success) return name;
  throw invalidArgs(field, "a name");
}

function checkedKey(key: string): string {
  if (key.length >= 1 && key.length <= KEY_CHARS_MAX) return key;
  throw invalidArgs("idempotencyKey", `a text of 1 to ${KEY_CHARS_MAX} characters`);
}

function attributesOf(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fieldsOf(value));
  const texts = entries.flatMap(([name, text]) => (typeof text === "string" ? [[name, text] as const] : []));
  if (texts.length < entries.length) throw invalidArgs("attributes", "texts by their names");
  return Object.fromEntries(texts);
}

function budgetIn(value: unknown): Budget {
  const { success, data } = budgetSchema.safeParse(value);
  if (success) return data;
  throw invalidArgs("budget", "usd, tokens and steps, each from 0 on");
}

function checkedPriority(priority: number): number {
  if (Number.isSafeInteger(priority) && Math.abs(priority) <= PRIORITY_MAX) return priority;
  throw invalidArgs("priority", `a whole number from ${-PRIORITY_MAX} to ${PRIORITY_MAX}`);
}

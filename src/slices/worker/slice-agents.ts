// Owns: `ctx.agents` inside the worker: what is passed checked by the schemas of the agent or signal, and the key of
// what is done in a call that has one. Does not own: what becomes of it (services/agents-service.ts).
import { AetherError } from "../../base/errors.ts";
import type { SignalJobOptions, StartJobOptions, StartedJobOfSlice } from "../../sdk/slice-agents.ts";
import { checkValue } from "../schema-check.ts";
import type { SchemaShape } from "./slice-module.ts";
import type { ServiceClient } from "./service-client.ts";
import type { CallerScope } from "./worker-outgoing.ts";

/** The call that a handler runs for. */
export interface CallIdentity {
  readonly method: string;
  readonly idempotencyKey?: string | undefined;
}

/** What we use of an agent or a signal; each bundle has its own copy of the SDK. */
interface Named {
  readonly name: string;
  readonly schema: SchemaShape | undefined;
}

export class WorkerAgents {
  private readonly client: ServiceClient;
  private readonly scope: CallerScope;
  private readonly call: CallIdentity | undefined;
  /** How often each was done in this call. */
  private readonly counts = new Map<string, number>();

  constructor(client: ServiceClient, scope: CallerScope, call: CallIdentity | undefined) {
    this.client = client;
    this.scope = scope;
    this.call = call;
  }

  async start(
    agent: unknown, input: unknown, { timeoutMs, signal, ...options }: StartJobOptions = {},
  ): Promise<StartedJobOfSlice> {
    const { name, schema } = typeof agent === "string" ? { name: agent, schema: undefined } : namedOf(agent, "input");
    const callKey = this.keyOf(`start ${name}`);
    const what = `start of a job of ${name}`;
    await check(what, schema, input);
    const args = { ...options, agent: name, input: input ?? null, callKey, traceparent: this.scope.traceparent };
    const request = { what, service: "agents", op: "start", args, effect: "write", timeoutMs, signal } as const;
    return await this.client.request(request, this.scope) as StartedJobOfSlice;
  }

  async signal(
    job: string, wanted: unknown, payload: unknown, { timeoutMs, signal, ...options }: SignalJobOptions = {},
  ): Promise<void> {
    const { name, schema } = namedOf(wanted, "payload");
    const callKey = this.keyOf(`signal ${job} ${name}`);
    const what = `signal ${name} to job ${job}`;
    await check(what, schema, payload);
    const args = { ...options, job, signal: name, payload: payload ?? null, callKey };
    const request = { what, service: "agents", op: "signal", args, effect: "write", timeoutMs, signal } as const;
    await this.client.request(request, this.scope);
  }

  /** What is done in a handler that runs again is told from what it does beside it by their order. */
  private keyOf(what: string): string | undefined {
    if (this.call?.idempotencyKey === undefined) return undefined;
    const { method, idempotencyKey } = this.call;
    const count = (this.counts.get(what) ?? 0) + 1;
    this.counts.set(what, count);
    return `${method} ${idempotencyKey} ${what} ${count}`;
  }
}

function namedOf(value: unknown, field: "input" | "payload"): Named {
  const shape = typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
  const { name, [field]: schema } = shape;
  if (typeof name === "string" && isSchema(schema)) return { name, schema };
  const wanted = field === "input" ? "an agent: what defineAgent gave, or a name" : "a signal: what defineSignal gave";
  throw new AetherError("E_INVALID", `nothing was told to agents: what was given is not ${wanted}`);
}

function isSchema(schema: unknown): schema is SchemaShape {
  return typeof schema === "object" && schema !== null && "safeParseAsync" in schema;
}

async function check(what: string, schema: SchemaShape | undefined, value: unknown): Promise<void> {
  if (schema === undefined) return;
  const checked = await checkValue(schema, value);
  if (checked.kind === "valid") return;
  const message = `did not do the ${what}: what it takes is invalid: ${checked.text}`;
  throw new AetherError("E_INVALID", message, { details: checked.details });
}

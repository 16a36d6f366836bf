// Owns: asking the nodes of a simulated cluster about jobs, as a client does: through any that runs, again through
// another one when the answer is lost. All that is asked may be asked twice.
import { AetherError, toAetherError } from "../base/errors.ts";
import { MINUTE_MS, SECOND_MS } from "../base/units.ts";
import type { Caller, Jobs } from "../jobs/ports.ts";
import type { World } from "./sim/world.ts";
import type { WorldPump } from "./world-pump.ts";

/** A node that can be asked. */
export interface JobsEntry {
  readonly jobs: Jobs;
  /** Resolves when its process is gone. */
  readonly ended: Promise<void>;
}

export interface JobsPorts {
  readonly world: World;
  readonly pump: WorldPump;
  /** Undefined when none runs. */
  findEntry(): JobsEntry | undefined;
  /** Each another one. */
  drawId(): string;
}

/** Who tests ask as. */
export const TESTER: Caller = { principal: "test", tenant: "default" };

/** A node that says nothing for so long is taken for lost. */
const ANSWER_MS_MAX = 6 * SECOND_MS;
const RETRY_MS = 50;
/** What another node, or the same one later, may answer better. */
const RETRIED = new Set(["E_TIMEOUT", "E_NO_QUORUM", "E_UNAVAILABLE", "E_OVERLOADED"]);

type Reply<T> =
  | { readonly kind: "answer"; readonly value: T }
  | { readonly kind: "error"; readonly error: unknown }
  | { readonly kind: "none" };

/** @throws AetherError what the node answers; its last error, or E_TIMEOUT, after `limitMs` of virtual time */
export function askJobs<T>(
  ports: JobsPorts, what: string, act: (jobs: Jobs) => Promise<T>, limitMs = MINUTE_MS,
): Promise<T> {
  const endMs = ports.world.nowMs + limitMs;
  return ports.pump.drive(() => askUntil(ports, act, endMs), limitMs + 2 * ANSWER_MS_MAX, what);
}

async function askUntil<T>(ports: JobsPorts, act: (jobs: Jobs) => Promise<T>, endMs: number): Promise<T> {
  for (;;) {
    const reply = await attempt(ports, act);
    if (reply.kind === "answer") return reply.value;
    const isOver = ports.world.nowMs >= endMs;
    if (reply.kind === "error" && (isOver || !RETRIED.has(toAetherError(reply.error).code))) throw reply.error;
    if (isOver) throw new AetherError("E_UNAVAILABLE", "no node answered: start one");
    await pass(ports.world, RETRY_MS);
  }
}

async function attempt<T>({ world, findEntry }: JobsPorts, act: (jobs: Jobs) => Promise<T>): Promise<Reply<T>> {
  const entry = findEntry();
  if (entry === undefined) return { kind: "none" };
  const late = pass(world, ANSWER_MS_MAX).then((): Reply<T> => ({ kind: "none" }));
  const reply = act(entry.jobs).then(
    (value): Reply<T> => ({ kind: "answer", value }), (error: unknown): Reply<T> => ({ kind: "error", error }),
  );
  return await Promise.race([reply, late, entry.ended.then((): Reply<T> => ({ kind: "none" }))]);
}

/** Resolves after so much virtual time. */
export function pass(world: World, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    world.schedule({ delayMs, kind: "client" }, resolve);
  });
}

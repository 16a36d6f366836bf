// Owns: what a slice is to the person who writes it: a contract, its handlers, and what the runtime hands to them.
import type { z } from "zod";
import type { Agent } from "./agent.ts";
import type { Client, Contract, Method } from "./contract.ts";
import type { RouteText } from "./route.ts";
import type { ScheduleDefinition } from "./schedule.ts";
import type { SliceAgents } from "./slice-agents.ts";
import type { LeaseOptions, SliceKv, SliceLease, StateCallOptions } from "./slice-state.ts";
import type { Topic } from "./topic.ts";
import { SDK_VERSION } from "./version.ts";

/** The contracts that a slice calls, by the name it uses for each. */
export type Uses = Readonly<Record<string, Contract>>;

/** The config of a slice that declares none. */
export type NoConfig = z.ZodObject<Record<never, never>>;

/** Lines go to the node's structured log, with slice and instance. No payloads, no secrets. */
export interface SliceLog {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What `start` and `stop` get. */
export interface SliceContext<U extends Uses, Cfg> {
  /** The slices this one uses. Calls go to a live instance anywhere in the cluster. */
  readonly uses: { readonly [K in keyof U]: Client<U[K]> };
  /** From the blueprint, parsed by the slice's `config` schema. */
  readonly config: Cfg;
  /** The slice's own part of the cluster's store. What it holds outlives instances and nodes. */
  readonly kv: SliceKv;
  /**
   * Takes a lease: one instance of the slice at most has it. `instances: 1` is no such promise.
   * @throws AetherError E_CONFLICT when another has it and does not give it back within `waitMs`
   */
  lease(name: string, options?: LeaseOptions): Promise<SliceLease>;
  /**
   * Tells every slice that handles the topic. Once it is done, each of them is sure to get the message, at least once.
   * @throws AetherError E_INVALID for a payload that the topic does not allow, E_OVERLOADED when too many wait
   */
  publish<P extends z.ZodType>(
    topic: Topic<string, P>, payload: NoInfer<z.input<P>>, options?: StateCallOptions,
  ): Promise<void>;
  /** Starts jobs of agents, and sends them signals. */
  readonly agents: SliceAgents;
  readonly log: SliceLog;
  /** Aborts when the instance stops, or the hook takes too long. */
  readonly signal: AbortSignal;
}

/** What a handler gets for one call. */
export interface CallContext<U extends Uses, Cfg> extends SliceContext<U, Cfg> {
  /** Aborts when the caller gave up, its deadline passed, or the instance is being stopped. */
  readonly signal: AbortSignal;
  /** What is left of the caller's deadline, in milliseconds. Calls made from here never outlive it. */
  remainingMs(): number;
  /** The caller's, if it gave one. */
  readonly idempotencyKey: string | undefined;
  /** W3C trace context of this handler: a hop of its own in its caller's trace, or in a new one. */
  readonly traceparent: string | undefined;
}

/** One handler: gets the parsed input, answers what the output schema accepts. */
// Conditional, because only then does TypeScript keep the literals of an answer (`status: "placed"`) while it infers.
export type Handler<M extends Method, Context> = M extends Method<infer I, infer O>
  ? (input: z.output<I>, ctx: Context) => Promise<z.input<O>> | z.input<O>
  : never;

export type Handlers<C extends Contract, Context> = {
  readonly [K in keyof C["methods"]]: Handler<C["methods"][K], Context>;
};

export interface SliceDefinition<C extends Contract, U extends Uses, Cfg extends z.ZodType> {
  readonly contract: C;
  readonly uses?: U;
  /**
   * Which of `uses` must serve before an instance of this slice starts, because `start` calls them. They are in the
   * same blueprint, and nobody waits in a circle. Without it slices come up in any order.
   */
  readonly loadAfter?: readonly (keyof NoInfer<U>)[];
  /**
   * Which method answers which HTTP route: `{ "GET /shop/orders/:id": "show" }`. Every node serves them on its API's
   * port. At most 16; a route for GET needs a method whose effect is `read`.
   */
  readonly routes?: Readonly<Partial<Record<RouteText, keyof NoInfer<C>["methods"] & string>>>;
  /**
   * Which method handles which topic, by the topic's name: `{ "order-placed": "notify" }`. Of all instances of the
   * slice one gets a message, at least once. At most 16; the effect of the method is not `read`.
   */
  readonly on?: Readonly<Record<string, keyof NoInfer<C>["methods"] & string>>;
  /**
   * Which methods run by themselves, and when: `{ nightly: { cron: "0 3 * * *", method: "close" } }`. Once per tick in
   * the whole cluster. At most 20.
   */
  readonly schedules?: Readonly<Record<string, ScheduleDefinition<keyof NoInfer<C>["methods"] & string>>>;
  /** Agents that the slice brings along: jobs of them are started by their names. At most 32. */
  readonly agents?: readonly Agent[];
  /** Schema of what a blueprint may configure. */
  readonly config?: Cfg;
  /** Runs once before the first call. If it throws, the instance has failed. */
  readonly start?: (ctx: SliceContext<U, z.output<Cfg>>) => Promise<void> | void;
  /** Runs once after the last call. */
  readonly stop?: (ctx: SliceContext<U, z.output<Cfg>>) => Promise<void> | void;
  readonly methods: Handlers<C, CallContext<U, z.output<Cfg>>>;
}

/** A defined slice: the default export of a slice package. The runtime reads it; people do not. */
export interface Slice<C extends Contract = Contract, U extends Uses = Uses, Cfg extends z.ZodType = z.ZodType>
  extends SliceDefinition<C, U, Cfg> {
  readonly kind: "aether-slice";
  readonly sdkVersion: string;
  readonly uses: U;
}

/**
 * Defines a slice: the default export of its package.
 * @example
 * export default defineSlice({
 *   contract: orders,
 *   uses: { pricing },
 *   config: z.object({ currency: z.string().default("EUR") }),
 *   methods: {
 *     place: async (input, ctx) => {
 *       const quote = await ctx.uses.pricing.quote({ sku: input.sku });
 *       return { cents: quote.cents * input.quantity, currency: ctx.config.currency };
 *     },
 *   },
 * });
 */
export function defineSlice<
  C extends Contract,
  U extends Uses = Record<never, never>,
  Cfg extends z.ZodType = NoConfig,
>(definition: SliceDefinition<C, U, Cfg>): Slice<C, U, Cfg> {
  // Only a definition without `uses` lacks it, and then U is its default: the empty record.
  const uses = definition.uses ?? ({} as U);
  return { ...definition, kind: "aether-slice", sdkVersion: SDK_VERSION, uses };
}

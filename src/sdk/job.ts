// Owns: what the code of an agent gets to work with. Types only: the runtime is in jobs/worker.
import type { z } from "zod";
import type { ChildOptions, DetachedChildOptions, StartedChild } from "./child.ts";
import type { Duration } from "./duration.ts";
import type { LlmCalls } from "./llm.ts";
import type { Signal } from "./signal.ts";
import type { Tool } from "./tool.ts";

/** The tools of an agent, by the name it uses for each. */
export type Tools = Readonly<Record<string, Tool>>;

export interface ToolCallOptions {
  /** Tells calls of one tool apart that run at the same time: of letters, digits and " ._:-". */
  readonly key?: string;
}

/** How an agent calls its tools. */
export type ToolCalls<T extends Tools> = {
  readonly [K in keyof T]: (
    input: z.input<T[K]["input"]>, options?: ToolCallOptions,
  ) => Promise<z.output<T[K]["output"]>>;
};

export interface StepOptions {
  /**
   * `read`: the step changes nothing outside, so that it starts before everything up to it is stored. Without it a step
   * starts only then.
   */
  readonly effect?: "read";
}

export interface StepContext {
  /** Aborts when the job is cancelled, or goes on elsewhere. */
  readonly signal: AbortSignal;
}

export interface WaitOptions {
  /** How long to wait; then the answer is `undefined`. Without it: for ever. */
  readonly timeout?: Duration;
}

/** What `job.child` has to know of an agent: what `defineAgent` gave. */
export interface ChildAgent<I extends z.ZodType = z.ZodType, O extends z.ZodType = z.ZodType> {
  readonly kind: "aether-agent";
  readonly name: string;
  readonly input: I;
  readonly output: O;
}

/** How an agent starts jobs of agents. */
export interface StartChild {
  /**
   * Starts a job of another agent, once, and gives what it answers. It is cancelled when this job is cancelled or ends.
   * When it does not complete the code gets an error that `isChildFailed` knows.
   */
  <I extends z.ZodType, O extends z.ZodType>(
    agent: ChildAgent<I, O>, input: z.input<I>, options?: ChildOptions & { readonly detached?: false },
  ): Promise<z.output<O>>;
  /** Starts a job that goes on by itself. */
  <I extends z.ZodType>(
    agent: ChildAgent<I>, input: z.input<I>, options: DetachedChildOptions,
  ): Promise<StartedChild>;
  /** The same of an agent of which only the name is known here. */
  (agent: string, input: unknown, options?: ChildOptions & { readonly detached?: false }): Promise<unknown>;
  (agent: string, input: unknown, options: DetachedChildOptions): Promise<StartedChild>;
}

export interface ApprovalOptions {
  /** What a person is asked, in a sentence: up to 1,000 characters. */
  readonly summary: string;
  /** What they have to know for it: plain data of up to 16 KiB. */
  readonly data?: unknown;
  /** How long to wait for somebody; then it is not approved. Without it: for ever. */
  readonly timeout?: Duration;
}

/** What somebody decided. */
export type Approval =
  | {
    readonly approved: true;
    /** Who, by their credentials. */
    readonly by: string;
    /** What they said with it; of any form. */
    readonly data: unknown;
  }
  /** Without `by` nobody decided in time. */
  | { readonly approved: false; readonly by?: string; readonly data?: unknown };

/** Part of a job: its calls are named apart from those of other branches that run at the same time. */
export interface JobScope<T extends Tools = Tools, M extends string = string> {
  readonly tools: ToolCalls<T>;
  /**
   * Asks one of the agent's models. Its answer is stored and never asked for again; when the job's node dies before,
   * it is asked again, and charged again. Requests that were refused for now or lost are made again `retries` times,
   * answers of another form than `output` are sent back `repairs` times: each is a call of its own in the log.
   * @throws (as error.code) E_LLM_ANSWER for an answer of another form; E_OVERLOADED, E_UNAVAILABLE, E_TIMEOUT,
   *   E_UNAUTHENTICATED and others as the provider answered, with `details.status` and `details.retryAfterMs`
   */
  readonly llm: LlmCalls<M>;
  /**
   * Runs a function and stores what it answers, as plain data: whoever goes on with the job gets the stored answer and
   * does not run it again. It runs twice when its node dies before the answer is stored, or stands still until another
   * one has gone on; what must not happen twice is a tool. What it throws is stored likewise, as name, message and
   * code.
   */
  step<R>(name: string, run: (context: StepContext) => Promise<R> | R, options?: StepOptions): Promise<R>;
  /** Goes on after this time, whatever restarts in between; costs nothing meanwhile. */
  sleep(name: string, duration: Duration): Promise<void>;
  /** The next signal of this kind, also one that came before. `undefined` when the time is over. */
  waitFor<P extends z.ZodType>(signal: Signal<string, P>, options?: WaitOptions): Promise<z.output<P> | undefined>;
  /**
   * Waits until a person approves or rejects what the summary and the data say. A decision holds for just that: what
   * has changed in another run of the code is not approved, and ends with E_NONDETERMINISM.
   * @example
   * const { approved, by } = await job.approve("manager", { summary: `Refund ${cents} cents?`, data: { order } });
   */
  approve(name: string, options: ApprovalOptions): Promise<Approval>;
  readonly child: StartChild;
  /** Wall time in milliseconds, as it was when the code first came here. Never goes back within a job. */
  now(): number;
  /** From 0 up to and without 1, evenly; the same whenever the code comes here again. */
  random(): number;
  /** A UUID that is the same whenever the code comes here again. */
  uuid(): string;
  /**
   * Runs branches at the same time. Each gets a scope of its own, whose calls are named after the branch.
   * @example
   * const { stock, price } = await job.all({
   *   stock: (branch) => branch.step("load", loadStock),
   *   price: (branch) => branch.step("load", loadPrice),
   * });
   */
  all<R>(branches: { readonly [K in keyof R]: (branch: JobScope<T, M>) => Promise<R[K]> | R[K] }): Promise<R>;
}

/**
 * What the code of an agent does durably goes through this. Between its calls code may compute what it likes, as long
 * as it does the same each time: no clock, no chance, no waiting for anything else.
 */
export interface Job<T extends Tools = Tools, M extends string = string, I = unknown> extends JobScope<T, M> {
  readonly id: string;
  /** Aborts when the job is cancelled, or goes on elsewhere. */
  readonly signal: AbortSignal;
  /**
   * Ends this run of the code: the job begins afresh with another input, with an empty log. Its id, its deadline and
   * signals that nobody has waited for stay; calls have other effect ids. Nothing after it runs, not even `finally`.
   * @throws AetherError E_INVALID for an input that the agent does not take, and while other calls are under way
   * @example
   * return await job.continueAs({ since: job.now() });
   */
  continueAs(input: I): Promise<never>;
  /** Tells whoever watches the job. Not stored; nobody may ever see it. */
  emit(data: unknown): void;
}

// Owns: tools whose work is done by a service outside, which may be an agent of another framework: one POST for each
// dispatch. Does not own: the connection (post-adapter.ts), what becomes of a call (the ledger).
import type { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import type { Secret } from "../secret.ts";
import { defineTool, notDone, type Reconciled, type Tool, type ToolContext, type ToolEffect } from "../tool.ts";
import { fieldOf, parseJson, readText, refusalOf, textOf } from "./answers.ts";
import { post, type PostAnswer } from "./post-adapter.ts";

export interface HttpToolOptions<N extends string, I extends z.ZodType, O extends z.ZodType> {
  readonly name: N;
  readonly description?: string;
  readonly url: string;
  readonly input: I;
  /** Of the JSON that the service answers. */
  readonly output: O;
  readonly effect: ToolEffect;
  /** Sent as `Authorization: Bearer …`. */
  readonly bearer?: Secret;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of one attempt. Default 15,000 ms, an hour at most. */
  readonly timeoutMs?: number;
  /** `url`: the service can be asked there what became of a call. For tools of effect `once`. */
  readonly reconcile?: { readonly url: string };
  /** With `reconcile`, see `defineTool`. */
  readonly settleMs?: number;
}

/** Version of the envelope. */
const ENVELOPE_VERSION = 1;

/**
 * Defines a tool that is a service: `POST` of `{ v: 1, tool, effectId, input }` as JSON, with the effect id as
 * `Idempotency-Key`, once for each dispatch; redirects are not followed. An answer of 2xx is the result. With any other
 * status the body `{ "status": "not-done", "reason": … }` says that nothing has happened; without it a `once` call is
 * in doubt. `reconcile.url` gets the same envelope and answers what `reconcile` of a tool answers.
 * @throws AetherError E_INVALID for an unusable address, and as `defineTool`
 * @example
 * const ship = httpTool({
 *   name: "ship", url: "https://ship.example/orders", effect: "once", bearer: secret("ship-key"),
 *   input: z.object({ order: z.string() }), output: z.object({ parcel: z.string() }),
 *   reconcile: { url: "https://ship.example/orders/find" },
 * });
 */
export function httpTool<const N extends string, I extends z.ZodType, O extends z.ZodType>(
  options: HttpToolOptions<N, I, O>,
): Tool<N, I, O> {
  const { name, description, url, input, output, effect, bearer, timeoutMs, settleMs, reconcile } = options;
  const ask = reconcile === undefined ? undefined : { ...options, url: checkUrl(name, reconcile.url) };
  checkUrl(name, url);
  return defineTool({
    name,
    input,
    output,
    effect,
    ...(description !== undefined && { description }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(settleMs !== undefined && { settleMs }),
    ...(bearer !== undefined && { secrets: [bearer] }),
    execute: (data, context) => call(options, data, context) as Promise<z.input<O>>,
    ...(ask !== undefined && {
      reconcile: (data, context) => find(ask, data, context) as Promise<Reconciled<z.input<O>>>,
    }),
  });
}

type Target = Pick<HttpToolOptions<string, z.ZodType, z.ZodType>, "name" | "url" | "bearer" | "headers">;
type Context = Pick<ToolContext, "effectId" | "signal" | "secret">;

async function call(target: Target, input: unknown, context: ToolContext): Promise<unknown> {
  const answer = await send(target, input, { ...context, beforeWrite: () => context.assertOwner() });
  const who = `the service of the tool ${target.name}`;
  if (answer.status >= 200 && answer.status < 300) return await readJson(who, answer);
  const { error, body } = await refusalOf(who, answer);
  if (fieldOf(body, "status") !== "not-done") throw error;
  throw notDone(textOf(body, "reason") || error);
}

async function find(target: Target, input: unknown, context: Context): Promise<unknown> {
  const answer = await send(target, input, { ...context, beforeWrite: () => undefined });
  const who = `the service of the tool ${target.name}`;
  if (answer.status === 200) return await readJson(who, answer);
  throw (await refusalOf(who, answer)).error;
}

async function send(
  { name, url, bearer, headers = {} }: Target, input: unknown,
  { effectId, signal, secret, beforeWrite }: Context & { readonly beforeWrite: () => void },
): Promise<PostAnswer> {
  let isSent = false;
  try {
    const key = bearer === undefined ? {} : { authorization: `Bearer ${secret(bearer)}` };
    return await post({
      url,
      headers: {
        "content-type": "application/json", accept: "application/json", ...headers, ...key, "idempotency-key": effectId,
      },
      body: JSON.stringify({ v: ENVELOPE_VERSION, tool: name, effectId, input }),
      signal,
      beforeWrite: () => {
        beforeWrite();
        isSent = true;
      },
    });
  } catch (error) {
    // Nobody there, not ours any more, or no key: not a byte has left.
    throw isSent ? error : notDone(error);
  }
}

/** Nothing in the body is no result. */
async function readJson(who: string, answer: PostAnswer): Promise<unknown> {
  const text = await readText(answer);
  if (text.trim() === "") return undefined;
  const value = parseJson(text);
  if (value !== undefined) return value;
  throw new AetherError("E_INVALID", `${who} answered ${answer.status} with what is no JSON`, { outcome: "unknown" });
}

function checkUrl(name: string, url: string): string {
  const { protocol = "", username = "", password = "" } = URL.canParse(url) ? new URL(url) : {};
  if (protocol !== "http:" && protocol !== "https:") {
    throw new AetherError("E_INVALID", `the tool "${name}" has the address "${url}": use http://… or https://…`);
  }
  if (username === "" && password === "") return url;
  throw new AetherError("E_INVALID", `the address of the tool "${name}" has a password in it: name a secret as bearer`);
}

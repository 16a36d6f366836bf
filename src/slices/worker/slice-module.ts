// Owns: recognizing a slice in an imported bundle. Each bundle carries its own copy of the SDK and of zod, so that a
// slice is known by its shape, never by `instanceof`. Runs inside the worker.
import { AetherError } from "../../base/errors.ts";
import { TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX } from "../../sdk/call-timeouts.ts";
import type { MethodPolicy } from "../../sdk/method-policy.ts";
import { sliceOfExport } from "../core/agent-package.ts";
import { CALL_BYTES_MAX, toPlain } from "../core/plain-data.ts";
import type { MethodSpec } from "../host/instance-host.ts";

/** What we use of a zod schema. */
export interface SchemaShape {
  safeParse(value: unknown): ParseOutcome;
  safeParseAsync(value: unknown): Promise<ParseOutcome>;
  /** From parsed data back to what travels; zod has it for schemas without one-way transforms. */
  safeEncode?(value: unknown): ParseOutcome;
}

export type ParseOutcome =
  | { readonly success: true; readonly data: unknown }
  | { readonly success: false; readonly error: { readonly issues: readonly IssueShape[] } };

export interface IssueShape {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

export interface MethodModule {
  readonly spec: MethodSpec;
  readonly input: SchemaShape;
  readonly output: SchemaShape;
}

export interface ContractModule {
  readonly name: string;
  readonly methods: ReadonlyMap<string, MethodModule>;
}

export type Handler = (input: unknown, ctx: unknown) => unknown;
export type Hook = (ctx: unknown) => unknown;

export interface SliceModule {
  /** What the bundle exports, as a slice. */
  readonly exported: unknown;
  readonly contract: ContractModule;
  readonly handlers: ReadonlyMap<string, Handler>;
  /** The contracts it calls, by alias. */
  readonly uses: ReadonlyMap<string, ContractModule>;
  readonly config: SchemaShape | undefined;
  readonly start: Hook | undefined;
  readonly stop: Hook | undefined;
}

/**
 * Reads the default export of a bundle.
 * @throws AetherError E_INVALID naming the first thing that is missing.
 */
export function parseSliceModule(imported: unknown): SliceModule {
  const slice = isObject(imported) ? sliceOfExport(imported["default"]) : undefined;
  if (!isObject(slice)) throw invalid("has no default export", "export default defineSlice({ … })");
  const contract = parseContract(slice["contract"], "contract");
  return {
    exported: slice,
    contract,
    handlers: parseHandlers(contract, slice),
    uses: parseUses(slice["uses"]),
    config: parseOptional(slice["config"], isSchema, "config", "a zod schema"),
    start: bindHook(slice, "start"),
    stop: bindHook(slice, "stop"),
  };
}

function parseContract(value: unknown, place: string): ContractModule {
  if (!isObject(value) || typeof value["name"] !== "string" || !isObject(value["methods"])) {
    throw invalid(`has no usable ${place}`, "use defineContract(name, methods)");
  }
  const methods = new Map<string, MethodModule>();
  for (const [name, method] of Object.entries(value["methods"])) {
    methods.set(name, parseMethod(name, method, place));
  }
  return { name: value["name"], methods };
}

function parseMethod(name: string, method: unknown, place: string): MethodModule {
  if (!isObject(method) || !isSchema(method["input"]) || !isSchema(method["output"])) {
    throw invalid(`has a ${place} whose method "${name}" lacks an input or output schema`, "give both as zod schemas");
  }
  const effect = method["effect"] ?? "write";
  if (effect !== "read" && effect !== "idempotent" && effect !== "write") {
    throw invalid(`has a ${place} whose method "${name}" has an unknown effect`, "use read, idempotent or write");
  }
  const timeoutMs = method["timeoutMs"] ?? TIMEOUT_MS_DEFAULT;
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 1 && timeoutMs <= TIMEOUT_MS_MAX)) {
    const found = `has a ${place} whose method "${name}" has an unusable timeoutMs`;
    throw invalid(found, `use 1 to ${TIMEOUT_MS_MAX} milliseconds`);
  }
  const policy = parsePolicy(name, method["policy"], place);
  const spec: MethodSpec = { method: name, effect, timeoutMs, ...(policy === undefined ? {} : { policy }) };
  return { spec, input: method["input"], output: method["output"] };
}

/** The node checks what it says (worker-content.ts): here it only has to be something that reaches the node. */
function parsePolicy(name: string, policy: unknown, place: string): MethodPolicy | undefined {
  if (policy === undefined) return undefined;
  const plain = toPlain(policy, CALL_BYTES_MAX);
  if (plain.kind === "plain") return plain.value as MethodPolicy;
  throw invalid(`has a ${place} whose method "${name}" has an unusable policy`, "make it with method({ … })");
}

function parseHandlers(contract: ContractModule, slice: Shape): ReadonlyMap<string, Handler> {
  const methods = slice["methods"];
  if (!isObject(methods)) throw invalid("has no methods", "implement each method of its contract");
  const handlers = new Map<string, Handler>();
  for (const name of contract.methods.keys()) {
    const handler = Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (!isFunction(handler)) throw invalid(`has no handler for "${name}"`, "implement each method of its contract");
    handlers.set(name, (input, ctx) => handler.call(methods, input, ctx));
  }
  return handlers;
}

function parseUses(value: unknown): ReadonlyMap<string, ContractModule> {
  if (value === undefined) return new Map();
  if (!isObject(value)) throw invalid("has unusable `uses`", "map a name to each contract it calls");
  return new Map(Object.entries(value).map(([alias, contract]) => [alias, parseContract(contract, `uses.${alias}`)]));
}

function bindHook(slice: Shape, name: "start" | "stop"): Hook | undefined {
  const hook = parseOptional(slice[name], isFunction, name, "a function");
  return hook === undefined ? undefined : (ctx) => hook.call(slice, ctx);
}

function parseOptional<T>(
  value: unknown, is: (value: unknown) => value is T, name: string, wanted: string,
): T | undefined {
  if (value === undefined) return undefined;
  if (!is(value)) throw invalid(`has an unusable ${name}`, `make it ${wanted}, or leave it out`);
  return value;
}

type Shape = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Shape {
  return typeof value === "object" && value !== null;
}

function isFunction(value: unknown): value is (this: unknown, ...args: readonly unknown[]) => unknown {
  return typeof value === "function";
}

function isSchema(value: unknown): value is SchemaShape {
  return isObject(value) && isFunction(value["safeParse"]) && isFunction(value["safeParseAsync"]);
}

function invalid(found: string, advice: string): AetherError {
  return new AetherError("E_INVALID", `this bundle is not a slice: it ${found}; ${advice}`);
}

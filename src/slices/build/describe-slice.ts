// Owns: reading a defined slice as data: what the manifest says about it. Runs where the slice's code runs, which is
// never the node process, and only duck-types: the slice brings its own copy of zod and of the SDK.
import { z } from "zod";
import { methodPolicySchema } from "../../sdk/method-policy.ts";
import { nameSchema } from "../../sdk/name.ts";
import { scheduleSchema } from "../../sdk/schedule.ts";
import { sliceOfExport } from "../core/agent-package.ts";
import type { JsonSchema, ManifestAgent, ManifestMethod, ManifestSchedule } from "../core/manifest.ts";
import { agentSchema, describeAgents } from "./describe-agents.ts";
import { callable, toJsonSchema, zodType } from "./json-schema.ts";

/** What the code of a slice says about itself. */
export interface SliceDescription {
  readonly slice: string;
  readonly methods: Readonly<Record<string, ManifestMethod>>;
  /** Contract names by the slice's own name for each. */
  readonly uses: Readonly<Record<string, string>>;
  /** Contract names. */
  readonly loadAfter?: readonly string[];
  /** Methods by HTTP route. */
  readonly routes?: Readonly<Record<string, string>>;
  /** Methods by topic. */
  readonly on?: Readonly<Record<string, string>>;
  readonly schedules?: Readonly<Record<string, ManifestSchedule>>;
  readonly agents?: Readonly<Record<string, ManifestAgent>>;
  readonly config?: JsonSchema;
  readonly sdkVersion: string;
}

export type Described =
  | { readonly kind: "described"; readonly description: SliceDescription }
  | { readonly kind: "refused"; readonly reason: string };

const contractSchema = z.object({
  name: nameSchema,
  methods: z.record(nameSchema, z.object({
    input: zodType,
    output: zodType,
    effect: z.enum(["read", "idempotent", "write"]),
    timeoutMs: z.int().min(1),
    policy: methodPolicySchema.exactOptional(),
  })),
});
const sliceSchema = z.object({
  contract: contractSchema,
  methods: z.record(z.string(), callable),
  uses: z.record(z.string(), z.object({ name: nameSchema })),
  loadAfter: z.array(z.string()).default([]),
  routes: z.record(z.string(), nameSchema).default({}),
  on: z.record(nameSchema, nameSchema).default({}),
  schedules: z.record(nameSchema, scheduleSchema).default({}),
  agents: z.array(agentSchema).default([]),
  config: zodType.optional(),
  start: callable.optional(),
  stop: callable.optional(),
  sdkVersion: z.string(),
});

/** Describes the default export of a slice's module, or says why it is not a slice. */
export function describeSlice(defaultExport: unknown): Described {
  if (defaultExport === undefined) {
    return refused("it has no default export: add `export default defineSlice({ … })`");
  }
  const exported = sliceOfExport(defaultExport);
  if (typeof exported !== "object" || exported === null || !("kind" in exported) || exported.kind !== "aether-slice") {
    return refused("its default export was not made by `defineSlice` or `defineAgent` of aether/slice");
  }
  const parsed = sliceSchema.safeParse(exported);
  if (!parsed.success) return refused(`its default export is not a valid slice: ${z.prettifyError(parsed.error)}`);
  const { contract, methods, uses, loadAfter, routes, on, schedules, config, sdkVersion } = parsed.data;
  const agents = describeAgents(parsed.data.agents);
  const missing = Object.keys(contract.methods).filter((name) => !Object.hasOwn(methods, name));
  if (missing.length > 0) {
    return refused(`the contract "${contract.name}" has methods without handler: ${missing.join(", ")}`);
  }
  const twice = agentTwice(parsed.data.agents);
  if (twice !== undefined) return refused(`it has two agents named "${twice}"`);
  const unknown = loadAfter.filter((alias) => !Object.hasOwn(uses, alias));
  if (unknown.length > 0) {
    return refused(`"loadAfter" names ${unknown.join(", ")}, which is not among its "uses"`);
  }
  const awaited = loadAfter.flatMap((alias) => uses[alias]?.name ?? []);
  return {
    kind: "described",
    description: {
      slice: contract.name,
      methods: Object.fromEntries(Object.entries(contract.methods).map(([name, method]) => [name, {
        effect: method.effect,
        timeoutMs: method.timeoutMs,
        ...(method.policy === undefined ? {} : { policy: method.policy }),
        input: toJsonSchema(method.input, "input"),
        output: toJsonSchema(method.output, "output"),
      }])),
      uses: Object.fromEntries(Object.entries(uses).map(([alias, used]) => [alias, used.name])),
      ...(awaited.length === 0 ? {} : { loadAfter: [...new Set(awaited)].sort() }),
      ...(Object.keys(routes).length === 0 ? {} : { routes }),
      ...(Object.keys(on).length === 0 ? {} : { on }),
      ...(Object.keys(schedules).length === 0 ? {} : { schedules }),
      ...(agents === undefined ? {} : { agents }),
      ...(config === undefined ? {} : { config: toJsonSchema(config, "input") }),
      sdkVersion,
    },
  };
}

function agentTwice(agents: readonly { readonly name: string }[]): string | undefined {
  const names = agents.map(({ name }) => name);
  return names.find((name, at) => names.indexOf(name) !== at);
}

function refused(reason: string): Described {
  return { kind: "refused", reason };
}

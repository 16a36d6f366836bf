// Owns: a first look at a value with the JSON Schema of a manifest: the config of a blueprint, so that most mistakes
// show at apply, and what jobs are given. Does not own: the last word. What is not judged here (patterns, formats,
// refinements) passes; the slice's own schema checks all of it in its worker.
//
// This runs on the thread that votes, and the schema is a stranger's. So no regular expression of it is ever run, and
// the work ends after so many looks, whatever references and alternatives multiply to. What was not looked at passes:
// an issue found is certain, an issue not found is not.
import type { SchemaIssue } from "../../base/schema-issues.ts";
import type { JsonSchema } from "./manifest.ts";

/** Fields, items, names and alternatives looked at for one blueprint: less than a tenth of a second at worst. */
export const CONFIG_LOOKS_MAX = 10_000;
/** Levels of schema and of value together, references included. */
const DEPTH_MAX = 64;
/** More say nothing new. */
const ISSUES_MAX = 20;
const CHOICES_SHOWN = 10;
const CHOICE_CHARS_SHOWN = 60;
const ALTERNATIVES_SHOWN = 3;
/** JSON Schema has no more. */
const TYPES_SHOWN = 7;

/** What is left of the work that one blueprint may cost. */
export interface CheckEffort {
  looksLeft: number;
}

/** What is certainly wrong with `config`, the first few of it. Never throws, whatever the schema is. */
export function checkConfig(schema: JsonSchema, config: unknown, effort: CheckEffort): readonly SchemaIssue[] {
  return judge({ root: schema, effort }, schema, { value: config, path: [], depth: 0 }).slice(0, ISSUES_MAX);
}

interface Walk {
  readonly root: JsonSchema;
  readonly effort: CheckEffort;
}

/** A value and where it is. */
interface Place {
  readonly value: unknown;
  readonly path: readonly string[];
  readonly depth: number;
}

type Fields = Readonly<Record<string, unknown>>;

function judge(walk: Walk, schema: unknown, at: Place): readonly SchemaIssue[] {
  if (schema === false) return [{ path: at.path, message: "nothing may stand here" }];
  if (!isFields(schema) || at.depth > DEPTH_MAX || !spend(walk, 1)) return [];
  const message = wrongType(schema, at.value) ?? wrongChoice(walk, schema, at.value) ?? wrongSize(schema, at.value);
  if (message !== undefined) return [{ path: at.path, message }];
  return [
    ...judgeReference(walk, schema, at),
    ...judgeFields(walk, schema, at),
    ...judgeItems(walk, schema, at),
    ...judgeAlternatives(walk, schema, at),
  ];
}

/** False once the work is used up: everything that follows passes. */
function spend({ effort }: Walk, looks: number): boolean {
  effort.looksLeft -= looks;
  return effort.looksLeft >= 0;
}

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  array: (value) => Array.isArray(value),
  object: isFields,
};

function wrongType({ type }: Fields, value: unknown): string | undefined {
  const types = typeof type === "string" ? [type] : listOf(type).slice(0, TYPES_SHOWN);
  if (types.length === 0 || types.some((name) => isOfType(name, value))) return undefined;
  return `expected ${types.join(" or ")}, found ${typeName(value)}`;
}

/** True also of a type that JSON Schema does not have. */
function isOfType(name: unknown, value: unknown): boolean {
  return typeof name !== "string" || !Object.hasOwn(TYPES, name) || TYPES[name]?.(value) !== false;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  return Array.isArray(value) ? "array" : typeof value;
}

/** `enum` and `const` of simple values; others would have to be compared in depth. */
function wrongChoice(walk: Walk, schema: Fields, value: unknown): string | undefined {
  const choices = Object.hasOwn(schema, "const") ? [schema["const"]] : schema["enum"];
  if (!Array.isArray(choices)) return undefined;
  const effort = choices.length + (typeof value === "string" ? value.length : 0);
  if (!spend(walk, effort) || !choices.every(isSimple) || choices.includes(value)) return undefined;
  const shown = choices.slice(0, CHOICES_SHOWN).map(showChoice).join(", ");
  return `expected ${shown}${choices.length > CHOICES_SHOWN ? " or others" : ""}`;
}

/** Cut before it is written out: a choice may be as long as a manifest. */
function showChoice(choice: unknown): string {
  return JSON.stringify(typeof choice === "string" ? choice.slice(0, CHOICE_CHARS_SHOWN) : choice);
}

function isSimple(value: unknown): boolean {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

interface Bound {
  readonly keyword: string;
  readonly sizeOf: (value: unknown) => number | undefined;
  readonly holds: (size: number, bound: number) => boolean;
  readonly say: string;
}

const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);
const textLength = (value: unknown): number | undefined => (typeof value === "string" ? value.length : undefined);
const itemCount = (value: unknown): number | undefined => (Array.isArray(value) ? value.length : undefined);
const atLeast = (size: number, bound: number): boolean => size >= bound;
const atMost = (size: number, bound: number): boolean => size <= bound;

const BOUNDS: readonly Bound[] = [
  { keyword: "minimum", sizeOf: number, holds: atLeast, say: "at least" },
  { keyword: "maximum", sizeOf: number, holds: atMost, say: "at most" },
  { keyword: "exclusiveMinimum", sizeOf: number, holds: (size, bound) => size > bound, say: "a number above" },
  { keyword: "exclusiveMaximum", sizeOf: number, holds: (size, bound) => size < bound, say: "a number below" },
  { keyword: "minLength", sizeOf: textLength, holds: atLeast, say: "a text of at least" },
  { keyword: "maxLength", sizeOf: textLength, holds: atMost, say: "a text of at most" },
  { keyword: "minItems", sizeOf: itemCount, holds: atLeast, say: "a list of at least" },
  { keyword: "maxItems", sizeOf: itemCount, holds: atMost, say: "a list of at most" },
];

function wrongSize(schema: Fields, value: unknown): string | undefined {
  for (const { keyword, sizeOf, holds, say } of BOUNDS) {
    const bound = schema[keyword];
    const size = sizeOf(value);
    if (typeof bound !== "number" || size === undefined || holds(size, bound)) continue;
    return `expected ${say} ${bound}, found ${size}`;
  }
  return undefined;
}

function judgeReference(walk: Walk, { $ref }: Fields, at: Place): readonly SchemaIssue[] {
  if (typeof $ref !== "string") return [];
  return judge(walk, targetOf(walk.root, $ref), { ...at, depth: at.depth + 1 });
}

/** Of references within the document, to the whole of it or to a definition; others pass. */
function targetOf(root: JsonSchema, reference: string): unknown {
  if (reference === "#") return root;
  const [start, holder = "", name, ...rest] = reference.split("/");
  if (start !== "#" || name === undefined || rest.length > 0) return undefined;
  const definitions = holder === "$defs" || holder === "definitions" ? root[holder] : undefined;
  return isFields(definitions) ? own(definitions, name.replaceAll("~1", "/").replaceAll("~0", "~")) : undefined;
}

function judgeFields(walk: Walk, schema: Fields, at: Place): readonly SchemaIssue[] {
  const { value } = at;
  if (!isFields(value)) return [];
  const issues: SchemaIssue[] = [];
  const known = isFields(schema["properties"]) ? schema["properties"] : {};
  for (const name of listOf(schema["required"])) {
    if (!spend(walk, 1)) return issues;
    if (typeof name !== "string" || Object.hasOwn(value, name) || mayBeAbsent(walk, own(known, name), at)) continue;
    issues.push({ path: [...at.path, name], message: "it is required and not there" });
  }
  // A name that a pattern allows is not judged, because patterns are not.
  const others = schema["patternProperties"] === undefined ? schema["additionalProperties"] : undefined;
  for (const name of Object.keys(value)) {
    if (!spend(walk, 1)) return issues;
    const place = { value: value[name], path: [...at.path, name], depth: at.depth + 1 };
    const isKnown = Object.hasOwn(known, name);
    if (!isKnown && others === false) issues.push({ path: place.path, message: "there is no such field" });
    else issues.push(...judge(walk, isKnown ? known[name] : others, place));
  }
  return issues;
}

/** A field that may be anything may be nothing: what JSON Schema cannot say of it may give it a value. */
function mayBeAbsent(walk: Walk, schema: unknown, { path, depth }: Place): boolean {
  return schema !== undefined && judge(walk, schema, { value: undefined, path, depth: depth + 1 }).length === 0;
}

function judgeItems(walk: Walk, schema: Fields, at: Place): readonly SchemaIssue[] {
  const { value } = at;
  if (!Array.isArray(value)) return [];
  const first = listOf(schema["prefixItems"]);
  const issues: SchemaIssue[] = [];
  for (let index = 0; index < value.length && spend(walk, 1); index++) {
    const place = { value: value[index] as unknown, path: [...at.path, String(index)], depth: at.depth + 1 };
    issues.push(...judge(walk, index < first.length ? first[index] : schema["items"], place));
  }
  return issues;
}

function judgeAlternatives(walk: Walk, schema: Fields, at: Place): readonly SchemaIssue[] {
  const place = { ...at, depth: at.depth + 1 };
  const issues = listOf(schema["allOf"]).flatMap((part) => judge(walk, part, place));
  // Of `oneOf` at least one must hold; that no other does would take a judgement that is certain both ways.
  for (const alternatives of [listOf(schema["anyOf"]), listOf(schema["oneOf"])]) {
    if (alternatives.length === 0) continue;
    const found = alternatives.map((alternative) => judge(walk, alternative, place));
    if (found.some((wrong) => wrong.length === 0)) continue;
    issues.push(...issuesOfNearest(found, at));
  }
  return issues;
}

/** What is wrong with the one alternative that was meant, where that can be told; else a word about each. */
function issuesOfNearest(found: readonly (readonly SchemaIssue[])[], { path }: Place): readonly SchemaIssue[] {
  const [near, ...others] = found.filter((wrong) => wrong.every((issue) => issue.path.length > path.length));
  if (near !== undefined && others.length === 0) return near;
  const messages = new Set(found.flatMap((wrong) => wrong.slice(0, 1).map(({ message }) => message)));
  return [{ path, message: [...messages].slice(0, ALTERNATIVES_SHOWN).join(", or ") }];
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function own(fields: Fields, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

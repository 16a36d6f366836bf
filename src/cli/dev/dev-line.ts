// Owns: which lines of a node matter to somebody who works with a cluster in one terminal, and how they look: what
// slices say, what the node did, and what is wrong. Does not own: the log itself.
import { z } from "zod";
import { printable } from "../printable.ts";

const LEVELS = ["info", "warn", "error"] as const;
export type DevLevel = (typeof LEVELS)[number];

const sliceLineSchema = z.looseObject({
  event: z.literal("slice.log"),
  slice: z.string(),
  text: z.string(),
  fields: z.unknown().optional(),
});
const loggedSchema = z.looseObject({ level: z.enum(LEVELS), event: z.string() });
/** Said by the line already, or of no use in it. */
const LEFT_OUT: ReadonlySet<string> = new Set(["level", "event", "node", "time", "area"]);

/** The line as it is shown; undefined for one that is not, as those of a node below this level. */
export function devLine(node: string, line: string, leastLevel: DevLevel): string | undefined {
  if (!line.startsWith("{")) return `${node} | ${line}`;
  const found = parseOrNone(line);
  const said = sliceLineSchema.safeParse(found);
  if (said.success) {
    const { slice, text, fields } = said.data;
    return printable(`${slice} on ${node}: ${text}${fields === undefined ? "" : ` ${JSON.stringify(fields)}`}`);
  }
  const logged = loggedSchema.safeParse(found).data;
  if (logged === undefined || LEVELS.indexOf(logged.level) < LEVELS.indexOf(leastLevel)) return undefined;
  const fields = Object.entries(logged).filter(([name]) => !LEFT_OUT.has(name));
  const told = fields.map(([name, value]) => ` ${name}=${fieldText(value)}`).join("");
  return printable(`${node} | ${logged.level === "info" ? "" : `${logged.level}: `}${logged.event}${told}`);
}

function fieldText(value: unknown): string {
  return typeof value === "string" && /^\S+$/.test(value) ? value : JSON.stringify(value);
}

function parseOrNone(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // ignored: a line that is none of ours is not shown
    return undefined;
  }
}

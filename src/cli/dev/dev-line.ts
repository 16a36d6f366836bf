// Owns: which lines of a node matter to somebody who develops slices, and how they look: what slices say, and what is
// wrong. Does not own: the log itself.
import { z } from "zod";
import { printable } from "../printable.ts";

const sliceLineSchema = z.looseObject({
  event: z.literal("slice.log"),
  slice: z.string(),
  text: z.string(),
  fields: z.unknown().optional(),
});
const wrongSchema = z.object({ level: z.enum(["warn", "error"]) });

/** The line as it is shown; undefined for one that is not, as those of a node below this level. */
export function devLine(node: string, line: string, leastLevel: "warn" | "error"): string | undefined {
  if (!line.startsWith("{")) return `${node} | ${line}`;
  const found = parseOrNone(line);
  const said = sliceLineSchema.safeParse(found);
  if (said.success) {
    const { slice, text, fields } = said.data;
    return printable(`${slice} on ${node}: ${text}${fields === undefined ? "" : ` ${JSON.stringify(fields)}`}`);
  }
  const wrong = wrongSchema.safeParse(found).data;
  return wrong?.level === "error" || wrong?.level === leastLevel ? `${node} | ${line}` : undefined;
}

function parseOrNone(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // ignored: a line that is none of ours is not shown
    return undefined;
  }
}

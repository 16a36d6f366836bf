// Owns: `aether control record`: the load that a node remembers, in the form that `control simulate` plays.
import type { Command } from "commander";
import { z } from "zod";
import { HOUR_MS, SECOND_MS } from "../../base/units.ts";
import { AetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { openSession, type Session } from "../options.ts";
import { parseAge } from "../age.ts";

const HISTORY = "/v1/metrics/history";
/** Of one request; the API takes as many. */
const SERIES_PER_REQUEST = 32;
const SINCE_MS_MAX = 2 * HOUR_MS;

const HELP = `
A node remembers two hours: ten minutes second by second, then one value for each ten seconds. What blueprints say of
instances goes along.

Examples:
  $ aether control record > load.json
  $ aether control record --slice orders --slice pricing --since 10min > load.json`;

const namesSchema = z.object({ names: z.array(z.string()) });
const seriesSchema = z.object({
  series: z.array(z.object({ name: z.string(), points: z.array(z.tuple([z.number(), z.number()])) })),
});
const controlSchema = z.object({ slices: z.array(z.object({ slice: z.string(), base: z.number() })) });

interface RecordFlags {
  readonly slice: readonly string[];
  readonly since: number;
}

export function addRecordCommand(control: Command, io: CliIo): void {
  control
    .command("record")
    .description("print the load of the last hours as JSON, for simulate")
    .option("--slice <name>", "of this slice; may be repeated; all without it", collect, [])
    .option("--since <time>", "of the last time, like \"10 min\", at most 2h", parseAge, SINCE_MS_MAX)
    .addHelpText("after", HELP)
    .action(async ({ slice, since }: RecordFlags, command: Command) => {
      const session = openSession(command, io);
      const recorded = await record(session, slice, Math.min(Math.max(since, SECOND_MS), SINCE_MS_MAX));
      // A file for another command: alike with and without --json.
      session.io.print(JSON.stringify(recorded));
    });
}

async function record({ api }: Session, wanted: readonly string[], sinceMs: number): Promise<unknown> {
  const { isRecorded } = await import("../../control/play-recording.ts");
  const isWanted = (name: string): boolean => {
    const [scope, slice = ""] = name.split("/");
    return isRecorded(name) && (scope !== "slice" || wanted.length === 0 || wanted.includes(slice));
  };
  const { names } = await api.get(namesSchema, HISTORY);
  const found = names.filter(isWanted);
  for (const slice of wanted) {
    if (found.some((name) => name.startsWith(`slice/${slice}/`))) continue;
    throw new AetherError("E_NOT_FOUND", `this node remembers nothing of a slice "${slice}"`, { outcome: "none" });
  }
  const series: unknown[] = [];
  for (let at = 0; at < found.length; at += SERIES_PER_REQUEST) {
    const some = found.slice(at, at + SERIES_PER_REQUEST);
    const query = new URLSearchParams({ series: some.join(","), sinceMs: String(sinceMs) });
    series.push(...(await api.get(seriesSchema, `${HISTORY}?${query.toString()}`)).series);
  }
  const { slices } = await api.get(controlSchema, "/v1/control");
  const known = slices.filter(({ slice, base }) => base > 0 && (wanted.length === 0 || wanted.includes(slice)));
  return { slices: Object.fromEntries(known.map(({ slice, base }) => [slice, { instances: base }])), series };
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}

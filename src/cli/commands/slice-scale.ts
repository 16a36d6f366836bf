// Owns: `aether slice scale`: another number of instances of one slice.
import type { Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { parseInstances } from "../instances.ts";
import { apiPath, openSession } from "../options.ts";
import { seconds } from "../seconds.ts";
import { waitUntilActive } from "./blueprint.ts";

const WAIT_SECONDS_DEFAULT = 60;

const HELP = `
It is a new revision of the slice's blueprint, in which nothing else changes. Applying the file of the blueprint again
brings its own number back. What rules made of the number before is forgotten; they go on from this one.

Example:
  $ aether slice scale orders 5 --wait`;

const scaledSchema = z.object({
  slice: z.string(),
  instances: z.number(),
  minAvailable: z.number(),
  blueprint: z.string(),
  revision: z.number(),
});

interface ScaleFlags {
  readonly wait?: boolean;
  readonly timeout: number;
}

export function addScaleCommand(slice: Command, io: CliIo): void {
  slice
    .command("scale")
    .description("change how many instances of a slice the cluster runs")
    .argument("<slice>", "name of the slice")
    .argument("<instances>", "how many, 0 to 1000", parseInstances)
    .option("--wait", "wait until every instance is ACTIVE, and show how they get there")
    .option("--timeout <seconds>", "with --wait: how long", seconds, WAIT_SECONDS_DEFAULT)
    .addHelpText("after", HELP)
    .action(async (name: string, instances: number, flags: ScaleFlags, command: Command) => {
      const session = openSession(command, io);
      const scaled = await session.api.request(scaledSchema, "POST", `${apiPath("/v1/slices", name)}/scale`, {
        json: { instances },
      });
      if (flags.wait === true) await waitUntilActive(session, scaled.blueprint, flags.timeout);
      session.show(scaled, ({ blueprint, revision, minAvailable }) =>
        `${name} is to have ${instances} instances (minAvailable ${minAvailable}): ` +
        `blueprint ${blueprint} is at revision ${revision}`,
      );
    });
}

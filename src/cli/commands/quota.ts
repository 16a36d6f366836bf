// Owns: `aether cluster quota`.
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import { GiB, KiB, MiB } from "../../base/units.ts";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";

const PATH = "/v1/cluster/quota";
const UNITS: Readonly<Record<string, number>> = { B: 1, KiB, MiB, GiB };

const usageSchema = z.object({ liveBytes: z.number(), quotaBytes: z.number() });

/** `cluster` is the command that it belongs to. */
export function addQuotaCommand(cluster: Command, io: CliIo): void {
  cluster
    .command("quota")
    .description("what the store weighs and may weigh; with an amount, set what it may weigh")
    .argument("[bytes]", "for example 16GiB", parseBytes)
    .addHelpText("after", "\nExamples:\n  $ aether cluster quota\n  $ aether cluster quota 16GiB")
    .action(async (quotaBytes: number | undefined, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const usage =
        quotaBytes === undefined
          ? await session.api.get(usageSchema, PATH)
          : await session.api.request(usageSchema, "POST", PATH, { json: { quotaBytes } });
      session.show(usage, (shown) => {
        const percent = ((100 * shown.liveBytes) / shown.quotaBytes).toFixed(1);
        return `${shown.liveBytes} of ${shown.quotaBytes} bytes (${percent}%)`;
      });
    });
}

function parseBytes(text: string): number {
  const [, digits, unit = "B"] = /^(\d{1,13})(B|KiB|MiB|GiB)?$/.exec(text) ?? [];
  if (digits !== undefined) return Number(digits) * (UNITS[unit] ?? 1);
  throw new InvalidArgumentError("use bytes, for example 17179869184 or 16GiB");
}

// Owns: `aether top`: what the cluster does right now: live in a terminal, once or as JSON without one.
import { type Command, Option } from "commander";
import { AetherError } from "../../base/errors.ts";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";
import { showLive } from "../top/live.ts";
import { ORDERS, type Order, screenLines, topSchema } from "../top/screen.ts";

const HELP = `
Any node tells of the whole cluster, and when it is lost the next one goes on. The third line is the worst alert that
fires, and how many more do. Keys: c, e, p and n put slices and methods in the order of their calls, errors, p99 or
names; / takes what their names have to contain, until Enter, and Escape shows all again; q and Ctrl-C end it. Without a
terminal, with --once and with --json it prints one second.

Examples:
  $ aether top
  $ aether top --once --sort p99 --filter orders
  $ aether top --json | jq .cluster`;

interface TopFlags {
  readonly once?: boolean;
  readonly sort: Order;
  readonly filter: string;
}

export function addTopCommand(program: Command, io: CliIo): void {
  program
    .command("top")
    .description("what nodes, slices, methods and jobs do right now: rates, durations, lag, and what fires")
    .option("--once", "print one second, and end")
    .addOption(new Option("--sort <order>", "of slices and methods").choices(ORDERS).default("calls"))
    .option("--filter <text>", "slices and methods with this in their name alone", "")
    .addHelpText("after", HELP)
    .action(async ({ once, sort, filter }: TopFlags, command: Command) => {
      const session = openSession(command, io);
      const { terminal } = io;
      const shown = { order: sort, filter };
      if (terminal !== undefined && once !== true && !session.isJson) return await showLive(session, terminal, shown);
      const { snapshot, alerts } = await session.api.get(topSchema, "/v1/metrics");
      if (snapshot === null) {
        const message = "this node has no snapshot of the cluster yet: nobody leads, or it has just started; ask again";
        throw new AetherError("E_UNAVAILABLE", message, { outcome: "none" });
      }
      session.show({ ...snapshot, alerts }, () => screenLines({ snapshot, alerts }, shown).join("\n"));
    });
}

// Owns: `aether call`.
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { JSON_CONTENT } from "../http-api.ts";
import { apiPath, openSession } from "../options.ts";
import { parseJsonArgument, readArgument } from "../text-input.ts";

/** No node accepts a longer deadline. */
const TIMEOUT_MS_MAX = 3_600_000;
/** The node tells that time is up; only a node that does not answer is given up here, a little later. */
const GRACE_MS = 2_000;

const EXAMPLES = `
Examples:
  $ aether call pricing quote '{"sku": "tea"}'
  $ aether call orders place @order.json
  $ aether call orders place @order.json --key order-17`;

interface CallFlags {
  readonly timeout?: number;
  readonly key?: string;
}

export function addCallCommand(program: Command, io: CliIo): void {
  program
    .command("call")
    .description("call a method of a slice and print its output")
    .argument("<slice>", "name of the slice")
    .argument("<method>", "name of the method")
    .argument("[input]", "input as JSON, @FILE, or - for stdin")
    .option("--timeout <ms>", "milliseconds until the call is given up; default: the method's own", parseMilliseconds)
    .option("--key <key>", "idempotency key: calls with the same one run once, and get the same answer for a day")
    .addHelpText("after", EXAMPLES)
    .action(async (slice: string, method: string, input: string | undefined, flags: CallFlags, command: Command) => {
      const session = openSession(command, io);
      const body = input === undefined ? undefined : await readArgument(io, input);
      if (body !== undefined) parseJsonArgument(body, "INPUT");
      const output = await session.api.request(z.unknown(), "POST", apiPath("/v1/call", slice, method), {
        headers: { ...JSON_CONTENT, ...headersOf(flags) },
        ...(body === undefined ? {} : { body }),
        timeoutMs: (flags.timeout ?? TIMEOUT_MS_MAX) + GRACE_MS,
      });
      session.show(output, (data) => JSON.stringify(data, undefined, 2));
    });
}

function headersOf({ timeout, key }: CallFlags): Readonly<Record<string, string>> {
  return {
    ...(timeout === undefined ? {} : { "x-deadline-ms": String(timeout) }),
    ...(key === undefined ? {} : { "idempotency-key": key }),
  };
}

function parseMilliseconds(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= TIMEOUT_MS_MAX) return value;
  throw new InvalidArgumentError(`use milliseconds from 1 to ${TIMEOUT_MS_MAX}, for example 5000`);
}

// Owns: `aether lease grant | renew | revoke | show`.
import { InvalidArgumentError, type Command } from "commander";
import { z } from "zod";
import type { CliIo } from "../cli-io.ts";
import { openSession } from "../options.ts";

const GRANT_EXAMPLE = `
Examples:
  $ aether lease grant 30
  $ aether kv put data/workers/a '"here"' --lease 1`;

const leaseSchema = z.object({ lease: z.number() });
const grantedSchema = leaseSchema.extend({ ttlMs: z.number() });
const shownSchema = grantedSchema.extend({ requests: z.boolean(), keys: z.number(), renewals: z.number() });

export function addLeaseCommands(program: Command, io: CliIo): void {
  const lease = program
    .command("lease")
    .description("leases: keys attached to one are deleted when nobody renews it");
  addGrant(lease, io);
  addRenew(lease, io);
  addRevoke(lease, io);
  addShow(lease, io);
}

/** The number of a lease. */
export function parseLease(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("use the number of a lease, for example 17");
}

function addGrant(lease: Command, io: CliIo): void {
  lease
    .command("grant")
    .description("grant a lease and print its number")
    .argument("<seconds>", "how long it lasts without being renewed, 1 to 86400", parseSeconds)
    .option("--requests", "make it a session, which remembers the requests that name it")
    .addHelpText("after", GRANT_EXAMPLE)
    .action(async (seconds: number, flags: { readonly requests?: boolean }, command: Command) => {
      const session = openSession(command, io);
      const json = { ttlMs: Math.round(seconds * 1_000), requests: flags.requests === true };
      const granted = await session.api.request(grantedSchema, "POST", "/v1/leases", { json });
      session.show(granted, ({ lease: number }) => String(number));
    });
}

function addRenew(lease: Command, io: CliIo): void {
  lease
    .command("renew")
    .description("begin the time of a lease anew")
    .argument("<lease>", "its number", parseLease)
    .addHelpText("after", "\nExample:\n  $ aether lease renew 1")
    .action(async (number: number, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const renewed = await session.api.request(leaseSchema, "POST", `/v1/leases/${number}/renew`);
      session.show(renewed, () => `lease ${number} is renewed`);
    });
}

function addRevoke(lease: Command, io: CliIo): void {
  lease
    .command("revoke")
    .description("end a lease and delete its keys")
    .argument("<lease>", "its number", parseLease)
    .addHelpText("after", "\nExample:\n  $ aether lease revoke 1")
    .action(async (number: number, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const revoked = await session.api.request(leaseSchema, "DELETE", `/v1/leases/${number}`);
      session.show(revoked, () => `lease ${number} has ended`);
    });
}

function addShow(lease: Command, io: CliIo): void {
  lease
    .command("show")
    .description("a lease, as one node has it applied")
    .argument("<lease>", "its number", parseLease)
    .addHelpText("after", "\nExample:\n  $ aether lease show 1 --json")
    .action(async (number: number, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const shown = await session.api.get(shownSchema, `/v1/leases/${number}`);
      session.show(shown, ({ ttlMs, keys, renewals, requests }) => {
        const kind = requests ? "session" : "lease";
        return `${kind} ${number}: ${ttlMs / 1_000} s, ${keys} keys, renewed ${renewals} times`;
      });
    });
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d{1,5}(?:\.\d{1,3})?$/.test(text) && seconds >= 1 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError("use seconds from 1 to 86400");
}

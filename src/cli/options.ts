// Owns: what every command that talks to a node takes: --api and --json, and how their results are printed.
import type { Command } from "commander";
import type { CliIo } from "./cli-io.ts";
import { HttpApi } from "./http-api.ts";

export interface CommonOptions {
  readonly api?: string;
  readonly json?: boolean;
}

/** What one run of a command works with. */
export interface Session {
  readonly io: CliIo;
  readonly api: HttpApi;
  /** Results are for scripts. */
  readonly isJson: boolean;
  /** Prints `data` as JSON, or what `forPeople` makes of it. */
  show<T>(data: T, forPeople: (data: T) => string): void;
}

export function openSession(command: Command, io: CliIo): Session {
  const { api, json } = command.optsWithGlobals<CommonOptions>();
  return {
    io,
    api: new HttpApi(io, api),
    isJson: json === true,
    show: (data, forPeople) => io.print(json === true ? JSON.stringify(data) : forPeople(data)),
  };
}

/** A path of the API with its parts percent-encoded. */
export function apiPath(root: string, ...parts: readonly string[]): string {
  return [root, ...parts.map(encodeURIComponent)].join("/");
}

// Owns: how a server of the Model Context Protocol is reached, as agents say it.
import { AetherError } from "../../base/errors.ts";
import type { Secret } from "../secret.ts";

/** A program that is started on each node that runs jobs of the agent, and spoken to through its input and output. */
export interface McpStdioServer {
  readonly command: string;
  readonly args?: readonly string[];
  /** All that its environment has, beside PATH and what else the worker itself was given. */
  readonly env?: Readonly<Record<string, string | Secret>>;
  readonly cwd?: string;
}

/** A server that is reached over HTTP ("streamable HTTP"). */
export interface McpHttpServer {
  readonly url: string;
  /** Sent as `Authorization: Bearer …`. */
  readonly bearer?: Secret;
  readonly headers?: Readonly<Record<string, string | Secret>>;
}

export type McpServer = McpStdioServer | McpHttpServer;

/** A server whose secrets are their values. */
export type ResolvedServer =
  | {
    readonly kind: "stdio";
    readonly command: string;
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
    readonly cwd?: string;
  }
  | { readonly kind: "http"; readonly url: string; readonly headers: Readonly<Record<string, string>> };

/** @throws AetherError E_INVALID */
export function checkServer(server: McpServer): void {
  if ("command" in server) {
    if (server.command !== "") return;
    throw new AetherError("E_INVALID", "an MCP server has no command: name the program that it is");
  }
  const { protocol = "", username = "", password = "" } = URL.canParse(server.url) ? new URL(server.url) : {};
  if (protocol !== "http:" && protocol !== "https:") {
    throw new AetherError("E_INVALID", `an MCP server has the address "${server.url}": use http://… or https://…`);
  }
  if (username === "" && password === "") return;
  throw new AetherError("E_INVALID", "the address of an MCP server has a password in it: name a secret as bearer");
}

/** What people are told of it; never anything that may be secret. */
export function describeServer(server: McpServer): string {
  return "command" in server ? `the MCP server ${server.command}` : `the MCP server at ${new URL(server.url).host}`;
}

/** Each secret that it names, once. */
export function secretsOf(server: McpServer): readonly Secret[] {
  const values = "command" in server
    ? Object.values(server.env ?? {})
    : [...Object.values(server.headers ?? {}), ...(server.bearer === undefined ? [] : [server.bearer])];
  const secrets = values.filter((value) => typeof value !== "string");
  return [...new Map(secrets.map((one) => [one.name, one])).values()];
}

/** `read` gives the value of a secret. @throws what `read` throws */
export function resolveServer(server: McpServer, read: (secret: Secret) => string): ResolvedServer {
  const plain = (fields: Readonly<Record<string, string | Secret>>): Record<string, string> =>
    Object.fromEntries(Object.entries(fields).map(([name, value]) =>
      [name, typeof value === "string" ? value : read(value)]));
  if ("command" in server) {
    const { command, args = [], env = {}, cwd } = server;
    return { kind: "stdio", command, args, env: plain(env), ...(cwd !== undefined && { cwd }) };
  }
  const { url, headers = {}, bearer } = server;
  const key = bearer === undefined ? {} : { authorization: `Bearer ${read(bearer)}` };
  return { kind: "http", url, headers: { ...plain(headers), ...key } };
}

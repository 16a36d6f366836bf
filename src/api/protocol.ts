// Owns: the binary client protocol: its version and messages, both directions. The client speaks it with this same
// file. Does not own: frames (frame.ts), sockets, what a request does.
//
// The first frame of each side is a hello. Every later frame is a MessagePack array of the messages of one turn.
// A message is an array: tag, id, then its fields in the order of the types below; an absent field is null.
// Ids are the client's, one per request under way; a watch keeps its id until it ends.
import { type ErrorBody } from "../base/errors.ts";
import { ERRORS, type ErrorCode } from "../base/error-catalog.ts";
import type { Consistency } from "../kvstore/kv.ts";
import { boolean, bytes, count, list, malformed, text } from "./core/message-fields.ts";

/**
 * What this build's nodes speak. Version 2 added `members`, leases, sessions and reading the past, version 3 `leaving`,
 * version 4 `api`; each has all of those before it.
 */
export const NODE_VERSIONS: ClientHello = { versionMin: 1, versionMax: 4 };
/** What this build's clients speak: they rely on what version 2 added. */
export const CLIENT_VERSIONS: ClientHello = { versionMin: 2, versionMax: 4 };
/** From this version on nodes answer `api`. */
export const API_SINCE = 4;
/** Requests count from 1: this id is of messages that answer none. */
export const NO_REQUEST = 0;
export const SESSION_PATH = "/v1/ws";

export interface ClientHello {
  readonly versionMin: number;
  readonly versionMax: number;
}

export type NodeHello =
  | { readonly kind: "welcome"; readonly version: number; readonly node: string; readonly isReady: boolean }
  | { readonly kind: "refused"; readonly error: ErrorBody };

/** What a client sends. Keys and names are still unchecked text here. */
export type ClientMessage =
  | {
      readonly kind: "get";
      readonly id: number;
      readonly timeoutMs: number;
      readonly key: string;
      readonly consistency: Consistency;
      readonly revision?: number | undefined;
    }
  | {
      readonly kind: "list";
      readonly id: number;
      readonly timeoutMs: number;
      readonly prefix: string;
      readonly limit: number;
      readonly after: string | undefined;
      readonly consistency: Consistency;
      readonly revision?: number | undefined;
    }
  /** `command` is an encoded transaction (kvstore/core/txn.ts), handed on as it is once it is checked. */
  | { readonly kind: "txn"; readonly id: number; readonly timeoutMs: number; readonly command: Uint8Array }
  /** `timeoutMs` is for a node that is not where the watch begins yet. */
  | {
      readonly kind: "watch";
      readonly id: number;
      readonly prefix: string;
      readonly from?: number | undefined;
      readonly timeoutMs?: number | undefined;
    }
  /** Asks how far the watch `id` has seen: answered with `progress`. */
  | { readonly kind: "progress"; readonly id: number }
  | {
      readonly kind: "call";
      readonly id: number;
      readonly timeoutMs: number;
      readonly slice: string;
      readonly method: string;
      readonly input: unknown;
      readonly idempotencyKey: string | undefined;
      readonly traceparent: string | undefined;
    }
  /**
   * A request of the HTTP API over this connection, JSON in and out. Answered with `ok` and `[status, body]`, or with
   * the error that the API's answer is. Since version 4.
   */
  | {
      readonly kind: "api";
      readonly id: number;
      readonly timeoutMs: number;
      readonly method: string;
      /** From `/v1/` on, with its query. */
      readonly path: string;
      /** JSON. */
      readonly body: string | undefined;
      readonly idempotencyKey: string | undefined;
      readonly traceparent?: string | undefined;
    }
  /** Ends the watch, or cancels the call or request `id`. Not answered. */
  | { readonly kind: "cancel"; readonly id: number }
  /** Answered with `ok`: shows that the other end lives. */
  | { readonly kind: "ping"; readonly id: number }
  /** A lease, or a session: a lease that remembers requests. */
  | {
      readonly kind: "grant";
      readonly id: number;
      readonly timeoutMs: number;
      readonly ttlMs: number;
      readonly requests: boolean;
    }
  | { readonly kind: "renew" | "revoke"; readonly id: number; readonly timeoutMs: number; readonly lease: number }
  /** Who else there is, and whether this node serves. */
  | { readonly kind: "members"; readonly id: number };

/** What a node sends. `result` and `changes` are as results.ts encodes them. */
export type NodeMessage =
  | { readonly kind: "ok"; readonly id: number; readonly result: unknown }
  | { readonly kind: "error"; readonly id: number; readonly error: ErrorBody }
  | { readonly kind: "changes"; readonly id: number; readonly revision: number; readonly changes: unknown }
  /** Everything up to this revision was sent, or did not match. Since version 2. */
  | { readonly kind: "progress"; readonly id: number; readonly revision: number }
  | { readonly kind: "ended"; readonly id: number; readonly error: ErrorBody }
  /**
   * The node is about to stop. What it was asked before the client closes this connection it answers; whatever comes
   * next is for another node. Since version 3.
   */
  | { readonly kind: "leaving"; readonly id: typeof NO_REQUEST };

const CLIENT_GREETING = "aether-client";
const NODE_GREETING = "aether-node";
const CLIENT_TAGS = {
  get: 1, list: 2, txn: 3, watch: 4, call: 5, cancel: 6, ping: 7, members: 8, progress: 9, grant: 10, renew: 11,
  revoke: 12, api: 13,
} as const;
const NODE_TAGS = { ok: 1, error: 2, changes: 3, ended: 4, progress: 5, leaving: 6 } as const;
const CONSISTENCY: readonly Consistency[] = ["linearizable", "local"];

/** The highest version that both speak. */
export function commonVersion(client: ClientHello): number | undefined {
  const version = Math.min(client.versionMax, NODE_VERSIONS.versionMax);
  return version >= Math.max(client.versionMin, NODE_VERSIONS.versionMin) ? version : undefined;
}

export function clientHelloFields(hello: ClientHello): readonly unknown[] {
  return [CLIENT_GREETING, hello.versionMin, hello.versionMax];
}

/** @throws AetherError E_INVALID */
export function parseClientHello(value: unknown): ClientHello {
  const fields = list(value, "hello");
  if (fields[0] !== CLIENT_GREETING) throw malformed("hello");
  return { versionMin: count(fields[1], "hello.versionMin"), versionMax: count(fields[2], "hello.versionMax") };
}

export function nodeHelloFields(hello: NodeHello): readonly unknown[] {
  if (hello.kind === "refused") return [NODE_GREETING, 0, hello.error];
  return [NODE_GREETING, hello.version, hello.node, hello.isReady];
}

/** @throws AetherError E_INVALID */
export function parseNodeHello(value: unknown): NodeHello {
  const fields = list(value, "hello");
  if (fields[0] !== NODE_GREETING) throw malformed("hello");
  const version = count(fields[1], "hello.version");
  if (version === 0) return { kind: "refused", error: parseErrorBody(fields[2]) };
  const node = text(fields[2], "hello.node");
  return { kind: "welcome", version, node, isReady: boolean(fields[3], "hello.isReady") };
}

export function clientMessageFields(message: ClientMessage): readonly unknown[] {
  const { id } = message;
  const tag = CLIENT_TAGS[message.kind];
  switch (message.kind) {
    case "get":
      return [
        tag, id, message.timeoutMs, message.key, CONSISTENCY.indexOf(message.consistency), message.revision ?? null,
      ];
    case "list": {
      const { timeoutMs, prefix, limit, after, consistency, revision } = message;
      const place = [after ?? null, CONSISTENCY.indexOf(consistency), revision ?? null];
      return [tag, id, timeoutMs, prefix, limit, ...place];
    }
    case "txn":
      return [tag, id, message.timeoutMs, message.command];
    case "watch":
      return [tag, id, message.prefix, message.from ?? null, message.timeoutMs ?? null];
    case "call": {
      const { timeoutMs, slice, method, input, idempotencyKey, traceparent } = message;
      return [tag, id, timeoutMs, slice, method, input, idempotencyKey ?? null, traceparent ?? null];
    }
    case "api": {
      const { timeoutMs, method, path, body, idempotencyKey, traceparent } = message;
      const fields = [tag, id, timeoutMs, method, path, body ?? null, idempotencyKey ?? null];
      // Earlier versions leave what comes behind unread.
      return traceparent === undefined ? fields : [...fields, traceparent];
    }
    case "grant":
      return [tag, id, message.timeoutMs, message.ttlMs, message.requests];
    case "renew":
    case "revoke":
      return [tag, id, message.timeoutMs, message.lease];
    case "cancel":
    case "ping":
    case "members":
    case "progress":
      return [tag, id];
  }
}

/** @throws AetherError E_INVALID for anything that is not a message of this version. */
export function parseClientMessage(value: unknown): ClientMessage {
  const fields = list(value, "message");
  const id = count(fields[1], "id");
  switch (fields[0]) {
    case CLIENT_TAGS.get:
      return {
        kind: "get",
        id,
        timeoutMs: count(fields[2], "get.timeoutMs"),
        key: text(fields[3], "get.key"),
        consistency: consistencyOf(fields[4]),
        revision: optionalCount(fields[5], "get.revision"),
      };
    case CLIENT_TAGS.list:
      return {
        kind: "list",
        id,
        timeoutMs: count(fields[2], "list.timeoutMs"),
        prefix: text(fields[3], "list.prefix"),
        limit: count(fields[4], "list.limit"),
        after: optionalText(fields[5], "list.after"),
        consistency: consistencyOf(fields[6]),
        revision: optionalCount(fields[7], "list.revision"),
      };
    case CLIENT_TAGS.txn:
      return {
        kind: "txn",
        id,
        timeoutMs: count(fields[2], "txn.timeoutMs"),
        command: bytes(fields[3], "txn.command"),
      };
    case CLIENT_TAGS.watch:
      return {
        kind: "watch",
        id,
        prefix: text(fields[2], "watch.prefix"),
        from: optionalCount(fields[3], "watch.from"),
        timeoutMs: optionalCount(fields[4], "watch.timeoutMs"),
      };
    case CLIENT_TAGS.progress:
      return { kind: "progress", id };
    case CLIENT_TAGS.call:
      return {
        kind: "call",
        id,
        timeoutMs: count(fields[2], "call.timeoutMs"),
        slice: text(fields[3], "call.slice"),
        method: text(fields[4], "call.method"),
        input: fields[5],
        idempotencyKey: optionalText(fields[6], "call.idempotencyKey"),
        traceparent: optionalText(fields[7], "call.traceparent"),
      };
    case CLIENT_TAGS.api:
      return {
        kind: "api",
        id,
        timeoutMs: count(fields[2], "api.timeoutMs"),
        method: text(fields[3], "api.method"),
        path: text(fields[4], "api.path"),
        body: optionalText(fields[5], "api.body"),
        idempotencyKey: optionalText(fields[6], "api.idempotencyKey"),
        traceparent: optionalText(fields[7], "api.traceparent"),
      };
    case CLIENT_TAGS.cancel:
      return { kind: "cancel", id };
    case CLIENT_TAGS.ping:
      return { kind: "ping", id };
    case CLIENT_TAGS.members:
      return { kind: "members", id };
    case CLIENT_TAGS.grant:
      return {
        kind: "grant",
        id,
        timeoutMs: count(fields[2], "grant.timeoutMs"),
        ttlMs: count(fields[3], "grant.ttlMs"),
        requests: boolean(fields[4], "grant.requests"),
      };
    case CLIENT_TAGS.renew:
    case CLIENT_TAGS.revoke:
      return {
        kind: fields[0] === CLIENT_TAGS.renew ? "renew" : "revoke",
        id,
        timeoutMs: count(fields[2], "lease.timeoutMs"),
        lease: count(fields[3], "lease"),
      };
    default:
      throw malformed("tag");
  }
}

export function nodeMessageFields(message: NodeMessage): readonly unknown[] {
  const { id } = message;
  switch (message.kind) {
    case "ok":
      return [NODE_TAGS.ok, id, message.result];
    case "error":
    case "ended":
      return [NODE_TAGS[message.kind], id, message.error];
    case "changes":
      return [NODE_TAGS.changes, id, message.revision, message.changes];
    case "progress":
      return [NODE_TAGS.progress, id, message.revision];
    case "leaving":
      return [NODE_TAGS.leaving, id];
  }
}

/** @throws AetherError E_INVALID for anything that is not a message of this version. */
export function parseNodeMessage(value: unknown): NodeMessage {
  const fields = list(value, "message");
  const id = count(fields[1], "id");
  switch (fields[0]) {
    case NODE_TAGS.ok:
      return { kind: "ok", id, result: fields[2] };
    case NODE_TAGS.error:
      return { kind: "error", id, error: parseErrorBody(fields[2]) };
    case NODE_TAGS.changes:
      return { kind: "changes", id, revision: count(fields[2], "revision"), changes: fields[3] };
    case NODE_TAGS.progress:
      return { kind: "progress", id, revision: count(fields[2], "revision") };
    case NODE_TAGS.ended:
      return { kind: "ended", id, error: parseErrorBody(fields[2]) };
    case NODE_TAGS.leaving:
      return { kind: "leaving", id: NO_REQUEST };
    default:
      throw malformed("tag");
  }
}

function parseErrorBody(value: unknown): ErrorBody {
  if (typeof value !== "object" || value === null) throw malformed("error");
  const body = value as Partial<Record<keyof ErrorBody, unknown>>;
  const { outcome, details } = body;
  return {
    code: codeOf(body.code),
    message: text(body.message, "error.message"),
    ...(outcome === "unknown" || outcome === "not-applied" ? { outcome } : {}),
    ...(typeof details === "object" && details !== null ? { details: details as Record<string, unknown> } : {}),
  };
}

// A newer node may know codes that this version does not.
function codeOf(value: unknown): ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERRORS, value) ? (value as ErrorCode) : "E_INTERNAL";
}

function consistencyOf(value: unknown): Consistency {
  const consistency = CONSISTENCY[count(value, "consistency")];
  if (consistency === undefined) throw malformed("consistency");
  return consistency;
}

function optionalCount(value: unknown, what: string): number | undefined {
  return value === null || value === undefined ? undefined : count(value, what);
}

function optionalText(value: unknown, what: string): string | undefined {
  return value === null || value === undefined ? undefined : text(value, what);
}

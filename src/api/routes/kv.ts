// Owns: /v1/kv: reading, writing and listing keys, and transactions. Watching is kv-watch.ts.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { parseKeyText, type KeyText } from "../../kvstore/core/key.ts";
import type { Compare, Op, Txn, TxnResult } from "../../kvstore/core/schema.ts";
import type { KvWriteOptions } from "../../kvstore/kv.ts";
import type { ApiRequest } from "../api-request.ts";
import { consistencySchema } from "../consistency.ts";
import { checkWritableOps, parsePrefix, parseWritableKey } from "../core/kv-keys.ts";
import { entryJson, jsonResponse } from "../json.ts";
import { KV_TIMEOUT_MS } from "../limits.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";
import { parseTxnJson, txnResultJson, txnSchema } from "./txn-json.ts";

const KEY_PATH = "/v1/kv/";
const PAGE_ENTRIES_MAX = 1_000;

const revisionSchema = z.coerce.number().int().min(0).exactOptional();
const getQuery = z.strictObject({ consistency: consistencySchema, revision: revisionSchema });
const listQuery = z.strictObject({
  prefix: z.string().default(""),
  limit: z.coerce.number().int().min(1).max(PAGE_ENTRIES_MAX).default(PAGE_ENTRIES_MAX),
  after: z.string().exactOptional(),
  revision: revisionSchema,
  consistency: consistencySchema,
});

const putQuery = z.strictObject({ lease: z.coerce.number().int().min(1).exactOptional() });

const REQUEST = {
  "Aether-Session": "A lease that was granted with requests; together with Aether-Request: apply this at most once",
  "Aether-Request": "The number of this write in its session, 1 and upwards, each once",
};
const CONDITIONS = {
  ...REQUEST,
  "If-Match": "Write only if this is the key's modRevision; 409 otherwise",
  "If-None-Match": "`*`: write only if the key does not exist; 409 otherwise",
  "X-Deadline-Ms": "Milliseconds until the caller gives up; default 5000",
};

export function kvRoutes(services: ApiServices): readonly Route[] {
  const { kv } = services;
  return [
    {
      method: "POST",
      path: "/v1/kv/txn",
      summary: "Compare, then or else: several keys at once, all or nothing",
      body: txnSchema,
      headers: REQUEST,
      answer: "{ succeeded, revision, results }",
      handle: async (request) => {
        const txn = parseTxnJson(await request.readJson());
        checkWritableOps(txn.then);
        checkWritableOps(txn.else);
        const result = await kv.transact(txn, writeOptions(request));
        return jsonResponse(200, txnResultJson(result));
      },
    },
    {
      method: "GET",
      path: "/v1/kv",
      summary: "Keys with a prefix, in order, a page at a time; with the first page's revision all are of one state",
      query: listQuery,
      answer: "{ entries, revision, more }",
      handle: async (request) => {
        const { prefix, consistency, ...rest } = request.query(listQuery);
        const page = await kv.list(
          { ...rest, prefix: parsePrefix(prefix) },
          { consistency, timeoutMs: request.timeoutMs(KV_TIMEOUT_MS), reader: request },
        );
        return jsonResponse(200, {
          entries: page.entries.map(entryJson),
          revision: page.revision,
          more: page.more,
        });
      },
    },
    {
      method: "GET",
      path: "/v1/kv/:key{.+}",
      summary: "One key: its value and revisions, now or at an earlier revision",
      query: getQuery,
      answer: "{ key, value, modRevision, createRevision, version, revision }",
      expectsMisses: true,
      handle: async (request) => {
        const key = parseKeyText(request.pathAfter(KEY_PATH));
        const timeoutMs = request.timeoutMs(KV_TIMEOUT_MS);
        const { entry, revision } = await kv.get(key, { ...request.query(getQuery), timeoutMs, reader: request });
        if (entry === undefined) throw missingKey(key, revision);
        return jsonResponse(200, { ...entryJson(entry), revision }, { etag: `"${entry.modRevision}"` });
      },
    },
    {
      method: "PUT",
      path: "/v1/kv/:key{.+}",
      summary: "Writes one key below data/",
      query: putQuery,
      body: "any JSON",
      headers: CONDITIONS,
      answer: "{ revision }",
      expectsMisses: true,
      handle: async (request) => {
        const key = parseWritableKey(request.pathAfter(KEY_PATH));
        const { lease } = request.query(putQuery);
        const value = await request.readJson();
        const put: Op = { kind: "put", key, value, ...(lease === undefined ? {} : { lease }) };
        const result = await writeConditionally(services, request, put);
        return jsonResponse(200, { revision: result.revision });
      },
    },
    {
      method: "DELETE",
      path: "/v1/kv/:key{.+}",
      summary: "Deletes one key below data/",
      headers: CONDITIONS,
      answer: "{ revision, deleted }",
      expectsMisses: true,
      handle: async (request) => {
        const key = parseWritableKey(request.pathAfter(KEY_PATH));
        const result = await writeConditionally(services, request, { kind: "delete", key });
        const [deletion] = result.results;
        const deleted = deletion?.kind === "delete" && deletion.deleted;
        return jsonResponse(200, { revision: result.revision, deleted });
      },
    },
  ];
}

/** Runs one write under the request's conditions. @throws AetherError E_CONFLICT with what was found instead. */
async function writeConditionally(
  services: ApiServices,
  request: ApiRequest,
  write: Txn["then"][number],
): Promise<TxnResult> {
  const { key } = write;
  const compare = conditionsOf(request, key);
  const orElse: Txn["else"] = compare.length === 0 ? [] : [{ kind: "get", key }];
  const txn: Txn = { compare, then: [write], else: orElse };
  const result = await services.kv.transact(txn, writeOptions(request));
  if (result.succeeded) return result;
  const [found] = result.results;
  const modRevision = found?.kind === "get" ? (found.entry?.modRevision ?? 0) : 0;
  const state = modRevision === 0 ? "does not exist" : `has modRevision ${modRevision}`;
  throw new AetherError("E_CONFLICT", `the condition does not hold: ${key} ${state}; read it again and decide anew`, {
    details: { key, modRevision, revision: result.revision },
  });
}

function writeOptions(request: ApiRequest): KvWriteOptions {
  const timeoutMs = request.timeoutMs(KV_TIMEOUT_MS);
  const [session, id] = [request.header("aether-session"), request.header("aether-request")];
  if (session === undefined && id === undefined) return { timeoutMs };
  const named = { session: parseNumber("Aether-Session", session), id: parseNumber("Aether-Request", id) };
  return { timeoutMs, request: named };
}

function parseNumber(header: string, text: string | undefined): number {
  if (text !== undefined && /^[1-9]\d{0,14}$/.test(text)) return Number(text);
  const found = text === undefined ? "missing" : `"${text}"`;
  throw new AetherError("E_INVALID", `${header} is ${found}: send Aether-Session and Aether-Request, both numbers`);
}

function conditionsOf(request: ApiRequest, key: KeyText): readonly Compare[] {
  const match = request.header("if-match");
  const noneMatch = request.header("if-none-match");
  const compare: Compare[] = [];
  if (match !== undefined) compare.push(unchanged(key, parseRevision(match)));
  if (noneMatch !== undefined) {
    if (noneMatch !== "*") throw new AetherError("E_INVALID", `If-None-Match is "${noneMatch}": only * is supported`);
    compare.push({ key, target: "exists", op: "=", value: false });
  }
  return compare;
}

function parseRevision(text: string): number {
  const digits = /^"?(\d{1,15})"?$/.exec(text)?.[1];
  if (digits === undefined) {
    throw new AetherError("E_INVALID", `If-Match is "${text}": use the modRevision of the key, for example 17`);
  }
  return Number(digits);
}

function missingKey(key: KeyText, revision: number): AetherError {
  return new AetherError("E_NOT_FOUND", `there is no key ${key}`, { outcome: "none", details: { key, revision } });
}

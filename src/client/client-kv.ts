// Owns: the key-value store as a client sees it.
import { AetherError, toAetherError } from "../base/errors.ts";
import type { CallOptions } from "../env/env.ts";
import { unchanged } from "../kvstore/core/guards.ts";
import { parseKeyText, type KeyText } from "../kvstore/core/key.ts";
import type { Compare, KvEntry, LeaseId, Txn, TxnResult } from "../kvstore/core/schema.ts";
import { encodeTxn, nameRequest, parseTxn } from "../kvstore/core/txn.ts";
import type { Consistency, KvListQuery, KvPage, KvRead, LeaseGrant } from "../kvstore/kv.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { parsePage, parseRead, parseTxnResult } from "../api/results.ts";
import {
  openClientWatch, type ClientWatch, type ClientWatchHandlers, type ClientWatchOptions, type ClientWatchPorts,
} from "./client-watch.ts";
import { openLease, type ClientLease } from "./lease-client.ts";
import type { Multiplexer } from "./multiplexer.ts";

const PAGE_ENTRIES_MAX = 1_000;

export interface ClientCallOptions extends CallOptions {
  /** Milliseconds until the caller gives up. */
  readonly timeoutMs?: number;
}

export interface ClientReadOptions extends ClientCallOptions {
  /** Default `linearizable`. */
  readonly consistency?: Consistency;
}

export interface ClientGetOptions extends ClientReadOptions {
  /** Reads the key as it was at this revision. E_COMPACTED when that is too long ago. */
  readonly revision?: number;
}

export interface ClientWriteOptions extends ClientCallOptions {
  /** Only for `put`: the key is deleted when this lease ends. */
  readonly lease?: LeaseId | Pick<ClientLease, "id">;
  /** Write only if this is the key's modRevision, 0 for a key that does not exist; E_CONFLICT otherwise. */
  readonly ifModRevision?: number;
}

/** A transaction with keys as plain text; `else` may be left out. */
export interface ClientTxn {
  readonly compare: readonly (Omit<Compare, "key"> & { readonly key: string })[];
  readonly then: readonly ClientOp[];
  readonly else?: readonly ClientOp[];
}

export type ClientOp =
  | { readonly kind: "put"; readonly key: string; readonly value: unknown; readonly lease?: LeaseId }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "get"; readonly key: string };

export interface ClientKv {
  get(key: string, options?: ClientGetOptions): Promise<KvRead>;
  put(key: string, value: unknown, options?: ClientWriteOptions): Promise<{ readonly revision: number }>;
  delete(
    key: string,
    options?: ClientWriteOptions,
  ): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  /** One page. The next one of the same state has the `revision` of this one, and its last key as `after`. */
  list(query: KvListQuery, options?: ClientReadOptions): Promise<KvPage>;
  /**
   * All entries below a prefix, in key order and of one revision, fetched page by page. E_COMPACTED on the way when
   * the caller takes so long that the revision is not held any more.
   */
  entries(prefix: string, options?: ClientReadOptions): AsyncGenerator<KvEntry>;
  /**
   * A write that went without answer is sent again, through any node, until its deadline: it is applied at most once,
   * and the answer is that of the time it was applied.
   */
  transact(txn: ClientTxn, options?: ClientCallOptions): Promise<TxnResult>;
  /**
   * Grants a lease of 1,000 to 86,400,000 ms and renews it until it is revoked, lost, or the client closed.
   */
  lease(grant: Pick<LeaseGrant, "ttlMs">, options?: ClientCallOptions): Promise<ClientLease>;
  /**
   * Changes below `prefix` from a revision on. It outlives connections and nodes: it goes on at another one after the
   * last revision it has seen, without a gap and without a repeat.
   */
  watch(prefix: string, handlers: ClientWatchHandlers, options?: ClientWatchOptions): Promise<ClientWatch>;
}

export function createClientKv(ports: ClientWatchPorts): ClientKv {
  return new MultiplexedKv(ports);
}

class MultiplexedKv implements ClientKv {
  private readonly ports: ClientWatchPorts;
  private readonly requests: Multiplexer;

  constructor(ports: ClientWatchPorts) {
    this.ports = ports;
    this.requests = ports.requests;
  }

  async get(key: string, options: ClientGetOptions = {}): Promise<KvRead> {
    const { consistency = "linearizable", timeoutMs = KV_TIMEOUT_MS, signal, revision } = options;
    const result = await this.requests.request({
      what: `get ${key}`,
      effect: "read",
      persistence: "serve",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "get", id, timeoutMs: leftMs, key, consistency, revision }),
    });
    return parseRead(result);
  }

  async list(query: KvListQuery, options: ClientReadOptions = {}): Promise<KvPage> {
    const { prefix, limit = PAGE_ENTRIES_MAX, after, revision } = query;
    const { consistency = "linearizable", timeoutMs = KV_TIMEOUT_MS, signal } = options;
    const result = await this.requests.request({
      what: `list ${prefix}`,
      effect: "read",
      persistence: "serve",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "list", id, timeoutMs: leftMs, prefix, limit, after, consistency, revision }),
    });
    return parsePage(result);
  }

  async *entries(prefix: string, options: ClientReadOptions = {}): AsyncGenerator<KvEntry> {
    let place: Pick<KvListQuery, "after" | "revision"> = {};
    for (;;) {
      const page = await this.list({ prefix, ...place }, options);
      yield* page.entries;
      const after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) return;
      place = { after, revision: page.revision };
    }
  }

  async put(key: string, value: unknown, options: ClientWriteOptions = {}): Promise<{ readonly revision: number }> {
    const lease = typeof options.lease === "object" ? options.lease.id : options.lease;
    const op = { kind: "put", key: parseKeyText(key), value, ...(lease === undefined ? {} : { lease }) } as const;
    const { revision } = await this.write(op, options);
    return { revision };
  }

  async delete(
    key: string,
    options: ClientWriteOptions = {},
  ): Promise<{ readonly revision: number; readonly deleted: boolean }> {
    const { revision, results } = await this.write({ kind: "delete", key: parseKeyText(key) }, options);
    const [deletion] = results;
    return { revision, deleted: deletion?.kind === "delete" && deletion.deleted };
  }

  lease({ ttlMs }: Pick<LeaseGrant, "ttlMs">, options: ClientCallOptions = {}): Promise<ClientLease> {
    return openLease(this.ports, ttlMs, options);
  }

  async transact(txn: ClientTxn, options: ClientCallOptions = {}): Promise<TxnResult> {
    const parsed = parseTxn(txn);
    return this.send(parsed, `transaction of ${parsed.then.length} operations`, options);
  }

  watch(prefix: string, handlers: ClientWatchHandlers, options: ClientWatchOptions = {}): Promise<ClientWatch> {
    return openClientWatch(this.ports, prefix, handlers, options);
  }

  private async write(op: WriteOp, options: ClientWriteOptions): Promise<TxnResult> {
    const { key } = op;
    const { ifModRevision } = options;
    const what = `${op.kind} ${key}`;
    if (ifModRevision === undefined) return this.send({ compare: [], then: [op], else: [] }, what, options);
    const compare = unchanged(key, ifModRevision);
    const result = await this.send({ compare: [compare], then: [op], else: [{ kind: "get", key }] }, what, options);
    if (result.succeeded) return result;
    const [found] = result.results;
    const modRevision = found?.kind === "get" ? (found.entry?.modRevision ?? 0) : 0;
    throw new AetherError("E_CONFLICT", `${what}: its modRevision is ${modRevision}, not ${ifModRevision}`, {
      details: { key, modRevision, revision: result.revision },
    });
  }

  private async send(txn: Txn, what: string, options: ClientCallOptions): Promise<TxnResult> {
    const { timeoutMs = KV_TIMEOUT_MS, signal } = options;
    const command = encodeTxn(txn);
    const result = await this.requests.request({
      what,
      effect: "once",
      persistence: "serve",
      timeoutMs,
      signal,
      bytes: command.byteLength,
      message: (id, leftMs, ticket) => {
        const named = ticket === undefined ? command : nameRequest(command, ticket);
        return { kind: "txn", id, timeoutMs: leftMs, command: named };
      },
    });
    return readAnswer(what, result);
  }
}

/** An answer that cannot be read came after the deed. */
function readAnswer(what: string, result: unknown): TxnResult {
  try {
    return parseTxnResult(result);
  } catch (error) {
    const { message } = toAetherError(error);
    throw new AetherError("E_INTERNAL", `${what}: it is done, but its answer cannot be read: ${message}`, {
      outcome: "unknown",
      cause: error,
    });
  }
}

type WriteOp =
  | { readonly kind: "put"; readonly key: KeyText; readonly value: unknown; readonly lease?: LeaseId }
  | { readonly kind: "delete"; readonly key: KeyText };

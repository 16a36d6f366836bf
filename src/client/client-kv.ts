// Owns: the key-value store as a client sees it.
import { AetherError, toAetherError } from "../base/errors.ts";
import type { CallOptions } from "../env/env.ts";
import { parseKeyText, type KeyText } from "../kvstore/core/key.ts";
import type { Compare, Txn, TxnResult } from "../kvstore/core/schema.ts";
import { encodeTxn, parseTxn } from "../kvstore/core/txn.ts";
import type { Consistency, KvListQuery, KvPage, KvRead, KvWatchHandlers } from "../kvstore/kv.ts";
import { count } from "../api/core/message-fields.ts";
import { KV_TIMEOUT_MS } from "../api/limits.ts";
import { parseChanges, parsePage, parseRead, parseTxnResult } from "../api/results.ts";
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

export interface ClientWriteOptions extends ClientCallOptions {
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
  | { readonly kind: "put"; readonly key: string; readonly value: unknown }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "get"; readonly key: string };

export interface ClientWatch {
  cancel(): void;
  /** Changes after this revision are delivered; list after the watch began, and nothing is missed. */
  readonly revision: number;
}

export interface ClientKv {
  get(key: string, options?: ClientReadOptions): Promise<KvRead>;
  put(key: string, value: unknown, options?: ClientWriteOptions): Promise<{ readonly revision: number }>;
  delete(
    key: string,
    options?: ClientWriteOptions,
  ): Promise<{ readonly revision: number; readonly deleted: boolean }>;
  list(query: KvListQuery, options?: ClientReadOptions): Promise<KvPage>;
  transact(txn: ClientTxn, options?: ClientCallOptions): Promise<TxnResult>;
  /**
   * Changes below `prefix`, live. It ends with its connection, with `onEnd`: a gap is never passed over in silence.
   * To go on, watch again and then list.
   */
  watch(prefix: string, handlers: KvWatchHandlers, options?: ClientCallOptions): Promise<ClientWatch>;
}

export function createClientKv(requests: Multiplexer): ClientKv {
  return new MultiplexedKv(requests);
}

class MultiplexedKv implements ClientKv {
  private readonly requests: Multiplexer;

  constructor(requests: Multiplexer) {
    this.requests = requests;
  }

  async get(key: string, options: ClientReadOptions = {}): Promise<KvRead> {
    const { consistency = "linearizable", timeoutMs = KV_TIMEOUT_MS, signal } = options;
    const result = await this.requests.request({
      what: `get ${key}`,
      effect: "read",
      persistence: "serve",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "get", id, timeoutMs: leftMs, key, consistency }),
    });
    return parseRead(result);
  }

  async list(query: KvListQuery, options: ClientReadOptions = {}): Promise<KvPage> {
    const { prefix, limit = PAGE_ENTRIES_MAX, after } = query;
    const { consistency = "linearizable", timeoutMs = KV_TIMEOUT_MS, signal } = options;
    const result = await this.requests.request({
      what: `list ${prefix}`,
      effect: "read",
      persistence: "serve",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "list", id, timeoutMs: leftMs, prefix, limit, after, consistency }),
    });
    return parsePage(result);
  }

  async put(key: string, value: unknown, options: ClientWriteOptions = {}): Promise<{ readonly revision: number }> {
    const { revision } = await this.write({ kind: "put", key: parseKeyText(key), value }, options);
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

  async transact(txn: ClientTxn, options: ClientCallOptions = {}): Promise<TxnResult> {
    const parsed = parseTxn(txn);
    return this.send(parsed, `transaction of ${parsed.then.length} operations`, options);
  }

  async watch(prefix: string, handlers: KvWatchHandlers, options: ClientCallOptions = {}): Promise<ClientWatch> {
    const { timeoutMs = KV_TIMEOUT_MS, signal } = options;
    let watchId = 0;
    let isCancelled = false;
    // The caller's code runs apart from ours: if it throws, its process hears of it and the connection goes on.
    const tell = (speak: () => void): void => queueMicrotask(() => {
      if (!isCancelled) speak();
    });
    const revision = await this.requests.request({
      what: `watch ${prefix}`,
      effect: "read",
      persistence: "move",
      timeoutMs,
      signal,
      message: (id) => ({ kind: "watch", id, prefix }),
      onAnswer: (session, id) => {
        watchId = id;
        this.requests.addWatch(id, session, {
          onChanges: (atRevision, fields) => {
            const changes = parseChanges(atRevision, fields);
            tell(() => handlers.onChanges(changes));
          },
          onEnd: (reason) => tell(() => handlers.onEnd(reason)),
        });
      },
    });
    const cancel = (): void => {
      isCancelled = true;
      this.requests.cancelWatch(watchId);
    };
    return { revision: count(revision, "revision"), cancel };
  }

  private async write(op: WriteOp, options: ClientWriteOptions): Promise<TxnResult> {
    const { key } = op;
    const { ifModRevision } = options;
    const what = `${op.kind} ${key}`;
    if (ifModRevision === undefined) return this.send({ compare: [], then: [op], else: [] }, what, options);
    const compare: Compare = { key, target: "modRevision", op: "=", value: ifModRevision };
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
      effect: "write",
      persistence: "serve",
      timeoutMs,
      signal,
      message: (id, leftMs) => ({ kind: "txn", id, timeoutMs: leftMs, command }),
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
  | { readonly kind: "put"; readonly key: KeyText; readonly value: unknown }
  | { readonly kind: "delete"; readonly key: KeyText };

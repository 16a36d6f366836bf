// Owns: `ctx.kv` inside the worker: its methods as requests to the node. Bound to one handler or hook.
// Does not own: keys and what may be written (services/kv-service.ts).
import { AetherError } from "../../base/errors.ts";
import type {
  SliceChanges, SliceCompare, SliceEntry, SliceKv, SliceLease, SliceListQuery, SliceOp, SlicePage, SlicePutOptions,
  SliceTxn, SliceTxnResult, SliceWatchQuery, StateCallOptions, StateReadOptions, StateWriteOptions,
} from "../../sdk/slice-state.ts";
import type { CallerScope } from "./worker-outgoing.ts";
import type { ServiceClient } from "./service-client.ts";
import { checkedMessage } from "./slice-topics.ts";
import { watchChanges } from "./slice-watch.ts";

/** Guards each write: a lease of this name is held under this token. */
export interface FenceArgs {
  readonly name: string;
  readonly token: number;
}

/** What a node is asked to do in one transaction. */
interface TransactParts {
  readonly txn: Omit<SliceTxn, "publish">;
  readonly messages?: readonly unknown[];
  /** What is put is attached to this lease. */
  readonly attachTo?: FenceArgs;
}

type WriteOp = Exclude<SliceOp, { readonly kind: "get" }>;

export class WorkerKv implements SliceKv {
  private readonly client: ServiceClient;
  private readonly scope: CallerScope;
  private readonly fence: FenceArgs | undefined;

  constructor(client: ServiceClient, scope: CallerScope, fence?: FenceArgs) {
    this.client = client;
    this.scope = scope;
    this.fence = fence;
  }

  async get(key: string, options: StateReadOptions = {}): Promise<SliceEntry | undefined> {
    const { consistency, ...patience } = options;
    const request = { what: `get of ${key}`, service: "kv", op: "get", effect: "read", ...patience } as const;
    // Our own node answers what we have given it to answer.
    return await this.client.request({ ...request, args: { key, consistency } }, this.scope) as SliceEntry | undefined;
  }

  async list(query: SliceListQuery = {}, options: StateReadOptions = {}): Promise<SlicePage> {
    const { consistency, ...patience } = options;
    const request = { what: "listing", service: "kv", op: "list", effect: "read", ...patience } as const;
    return await this.client.request({ ...request, args: { ...query, consistency } }, this.scope) as SlicePage;
  }

  async put(
    key: string, value: unknown, { lease, ...options }: SlicePutOptions = {},
  ): Promise<{ readonly revision: number }> {
    const { revision } = await this.write({ kind: "put", key, value }, options, lease);
    return { revision };
  }

  watch(query: SliceWatchQuery = {}): AsyncIterable<SliceChanges> {
    return watchChanges(this.client, query, this.scope);
  }

  async delete(
    key: string, options: StateWriteOptions = {},
  ): Promise<{ readonly revision: number; readonly deleted: boolean }> {
    const { revision, results: [deletion] } = await this.write({ kind: "delete", key }, options);
    return { revision, deleted: deletion?.kind === "delete" && deletion.deleted };
  }

  async transact(
    { publish = [], ...txn }: SliceTxn, options: StateCallOptions = {},
  ): Promise<SliceTxnResult> {
    const messages = await Promise.all(publish.map(({ topic, payload }) => checkedMessage(topic, payload)));
    return await this.send({ txn, ...(messages.length === 0 ? {} : { messages }) }, "transaction", options);
  }

  private async write(
    op: WriteOp, { ifRevision, ...patience }: StateWriteOptions, lease?: SliceLease,
  ): Promise<SliceTxnResult> {
    const { key } = op;
    const what = `${op.kind} of ${key}`;
    const attached = lease === undefined ? {} : { attachTo: this.attachable(lease, what) };
    if (ifRevision === undefined) {
      return await this.send({ txn: { compare: [], then: [op] }, ...attached }, what, patience);
    }
    const compare: SliceCompare = { key, target: "modRevision", op: "=", value: ifRevision };
    const txn = { compare: [compare], then: [op], else: [{ kind: "get", key }] } as const;
    const result = await this.send({ txn, ...attached }, what, patience);
    if (result.succeeded) return result;
    const [found] = result.results;
    const modRevision = found?.kind === "get" ? (found.entry?.modRevision ?? 0) : 0;
    const message = `${what}: its modRevision is ${modRevision}, not ${ifRevision}; read it again`;
    throw new AetherError("E_CONFLICT", message, {
      details: { key, modRevision, revision: result.revision },
    });
  }

  /** A write is under one lease at most: that of `lease.kv`, or the one that it names. */
  private attachable({ name, token }: SliceLease, what: string): FenceArgs {
    if (this.fence === undefined || this.fence.token === token) return { name, token };
    const found = `it is under the lease ${this.fence.name} and cannot be attached to ${name}`;
    throw new AetherError("E_INVALID", `did not do the ${what}: ${found}; use ctx.kv, or that lease`);
  }

  private async send(parts: TransactParts, what: string, options: StateCallOptions): Promise<SliceTxnResult> {
    const fence = parts.attachTo ?? this.fence;
    const args = { ...parts, ...(fence === undefined ? {} : { fence }) };
    const request = { what, service: "kv", op: "transact", args, effect: "write", ...options } as const;
    return await this.client.request(request, this.scope) as SliceTxnResult;
  }
}

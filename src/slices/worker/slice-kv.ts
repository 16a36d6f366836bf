// Owns: `ctx.kv` inside the worker: its methods as requests to the node. Bound to one handler or hook.
// Does not own: keys and what may be written (services/kv-service.ts).
import { AetherError } from "../../base/errors.ts";
import type {
  SliceCompare, SliceEntry, SliceKv, SliceListQuery, SliceOp, SlicePage, SliceTxn, SliceTxnResult, StateCallOptions,
  StateReadOptions, StateWriteOptions,
} from "../../sdk/slice-state.ts";
import type { CallerScope } from "./worker-outgoing.ts";
import type { ServiceClient } from "./service-client.ts";

/** Guards each write: a lease of this name is held under this token. */
export interface FenceArgs {
  readonly name: string;
  readonly token: number;
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

  async put(key: string, value: unknown, options: StateWriteOptions = {}): Promise<{ readonly revision: number }> {
    const { revision } = await this.write({ kind: "put", key, value }, options);
    return { revision };
  }

  async delete(
    key: string, options: StateWriteOptions = {},
  ): Promise<{ readonly revision: number; readonly deleted: boolean }> {
    const { revision, results: [deletion] } = await this.write({ kind: "delete", key }, options);
    return { revision, deleted: deletion?.kind === "delete" && deletion.deleted };
  }

  transact(txn: SliceTxn, options: StateCallOptions = {}): Promise<SliceTxnResult> {
    return this.send(txn, "transaction", options);
  }

  private async write(op: WriteOp, { ifRevision, ...patience }: StateWriteOptions): Promise<SliceTxnResult> {
    const { key } = op;
    const what = `${op.kind} of ${key}`;
    if (ifRevision === undefined) return await this.send({ compare: [], then: [op] }, what, patience);
    const compare: SliceCompare = { key, target: "modRevision", op: "=", value: ifRevision };
    const result = await this.send({ compare: [compare], then: [op], else: [{ kind: "get", key }] }, what, patience);
    if (result.succeeded) return result;
    const [found] = result.results;
    const modRevision = found?.kind === "get" ? (found.entry?.modRevision ?? 0) : 0;
    const message = `${what}: its modRevision is ${modRevision}, not ${ifRevision}; read it again`;
    throw new AetherError("E_CONFLICT", message, {
      details: { key, modRevision, revision: result.revision },
    });
  }

  private async send(txn: SliceTxn, what: string, options: StateCallOptions): Promise<SliceTxnResult> {
    const args = { txn, ...(this.fence === undefined ? {} : { fence: this.fence }) };
    const request = { what, service: "kv", op: "transact", args, effect: "write", ...options } as const;
    return await this.client.request(request, this.scope) as SliceTxnResult;
  }
}

// Owns: the part of the store that belongs to a slice, for what its workers ask: relative keys become keys of the
// store, and nothing outside of `data/slices/{slice}/` is ever touched.
// Does not own: fencing tokens (lease-service.ts makes them); the store.
import { AetherError } from "../../base/errors.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import type { KvEntry, Op, OpResult, Txn } from "../../kvstore/core/schema.ts";
import { parseTxn } from "../../kvstore/core/txn.ts";
import type { Consistency, Kv, KvListQuery } from "../../kvstore/kv.ts";
import type { SliceEntry, SliceOpResult, SlicePage, SliceTxnResult } from "../../sdk/slice-state.ts";
import type { OpenService, ServiceScope, SliceService } from "./slice-services.ts";
import { fieldsOf, invalidArgs, optionalNumber, optionalText, textOf, unknownOp, type Fields } from "./service-args.ts";

/** Guards a write: the lease is still held under this token. */
interface Fence {
  readonly key: KeyText;
  readonly token: number;
}

export function openKvService(kv: Pick<Kv, "get" | "list" | "transact">): OpenService {
  return ({ slice }) => new KvService(kv, slice);
}

class KvService implements SliceService {
  private readonly kv: Pick<Kv, "get" | "list" | "transact">;
  private readonly slice: string;
  private readonly root: string;

  constructor(kv: Pick<Kv, "get" | "list" | "transact">, slice: string) {
    this.kv = kv;
    this.slice = slice;
    this.root = prefixOf({ kind: "data", path: `slices/${slice}` });
  }

  run(op: string, args: unknown, scope: ServiceScope): Promise<unknown> {
    const fields = fieldsOf(args);
    switch (op) {
      case "get":
        return this.get(fields, scope);
      case "list":
        return this.list(fields, scope);
      case "transact":
        return this.transact(fields, scope);
      default:
        throw unknownOp("kv", op);
    }
  }

  close(): void {
    // It holds nothing.
  }

  private async get(fields: Fields, scope: ServiceScope): Promise<SliceEntry | undefined> {
    const { entry } = await this.kv.get(this.keyOf(fields["key"]), { ...scope, consistency: consistencyOf(fields) });
    return entry === undefined ? undefined : this.shown(entry);
  }

  private async list(fields: Fields, scope: ServiceScope): Promise<SlicePage> {
    const after = optionalText(fields, "after");
    const limit = optionalNumber(fields, "limit");
    const revision = optionalNumber(fields, "revision");
    const query: KvListQuery = {
      prefix: this.root + (optionalText(fields, "prefix") ?? ""),
      ...(after === undefined ? {} : { after: this.root + after }),
      ...(limit === undefined ? {} : { limit }),
      ...(revision === undefined ? {} : { revision }),
    };
    const page = await this.kv.list(query, { ...scope, consistency: consistencyOf(fields) });
    return { entries: page.entries.map((entry) => this.shown(entry)), revision: page.revision, more: page.more };
  }

  private async transact(fields: Fields, scope: ServiceScope): Promise<SliceTxnResult> {
    const txn = this.txnOf(fields["txn"]);
    const fence = this.fenceOf(fields["fence"]);
    const result = await this.kv.transact(fence === undefined ? txn : fenced(txn, fence), scope);
    const { succeeded, revision } = result;
    const results = fence === undefined || succeeded ? result.results : checkFence(fence, result.results);
    return { succeeded, revision, results: results.map((one) => this.shownResult(one)) };
  }

  private txnOf(value: unknown): Txn {
    const fields = fieldsOf(value);
    return parseTxn({
      compare: this.withKeys(fields["compare"]),
      then: this.withKeys(fields["then"]),
      else: this.withKeys(fields["else"]),
    });
  }

  /** What is no list of objects is left to the parser, which knows how to say so. */
  private withKeys(items: unknown): unknown {
    if (!Array.isArray(items)) return items;
    return (items as readonly unknown[]).map((item) => {
      // Leases of the store are not for slices to name: theirs are those of `ctx.lease`.
      const { lease: _, ...fields } = fieldsOf(item);
      return { ...fields, key: this.keyOf(fields["key"]) };
    });
  }

  private fenceOf(value: unknown): Fence | undefined {
    if (value === undefined) return undefined;
    const fields = fieldsOf(value);
    const token = optionalNumber(fields, "token");
    if (token === undefined) throw invalidArgs("token", "a number");
    return { key: formatKey({ kind: "slice-lease", slice: this.slice, name: textOf(fields, "name") }), token };
  }

  private keyOf(value: unknown): KeyText {
    if (typeof value !== "string") throw invalidArgs("key", "a text");
    return formatKey({ kind: "data", path: `slices/${this.slice}/${value}` });
  }

  private shown({ key, value, modRevision, createRevision, version }: KvEntry): SliceEntry {
    return { key: key.slice(this.root.length), value, modRevision, createRevision, version };
  }

  private shownResult(result: OpResult): SliceOpResult {
    if (result.kind !== "get") return result;
    return result.entry === undefined ? { kind: "get" } : { kind: "get", entry: this.shown(result.entry) };
  }
}

function consistencyOf(fields: Fields): Consistency {
  const consistency = optionalText(fields, "consistency") ?? "linearizable";
  if (consistency === "linearizable" || consistency === "local") return consistency;
  throw invalidArgs("consistency", '"linearizable" or "local"');
}

/** The last result of `else` says whether it was the fence that did not hold. */
function fenced(txn: Txn, { key, token }: Fence): Txn {
  if (txn.else.some(({ kind }) => kind !== "get")) {
    const message = "a transaction under a lease may only get in its `else`: that runs when the lease is lost, too";
    throw new AetherError("E_INVALID", message);
  }
  const look: Op = { kind: "get", key };
  return { compare: [unchanged(key, token), ...txn.compare], then: txn.then, else: [...txn.else, look] };
}

function checkFence({ key, token }: Fence, results: readonly OpResult[]): readonly OpResult[] {
  const found = results.at(-1);
  const held = found?.kind === "get" ? (found.entry?.modRevision ?? 0) : 0;
  if (held === token) return results.slice(0, -1);
  const message = `the lease ${key} is not held under the token ${token} any more: nothing was written; take it anew`;
  throw new AetherError("E_FENCED", message, { details: { token, current: held } });
}

// Owns: the part of the store that belongs to a slice, for what its workers ask: relative keys become keys of the
// store, and nothing outside of `data/slices/{slice}/` is ever touched.
// Does not own: fencing tokens (lease-service.ts makes them), who gets messages (TopicPublisher), pieces of a watch
// (kv-changes.ts); the store.
import { AetherError } from "../../base/errors.ts";
import type { Clock } from "../../env/clock.ts";
import { unchanged } from "../../kvstore/core/guards.ts";
import { formatKey, prefixOf, type KeyText } from "../../kvstore/core/key.ts";
import { TXN_OPS_MAX } from "../../kvstore/core/limits.ts";
import type { KvChangeSet, KvEntry, LeaseId, Op, OpResult, Txn, TxnResult } from "../../kvstore/core/schema.ts";
import { parseTxn } from "../../kvstore/core/txn.ts";
import type { Consistency, Kv, KvListQuery } from "../../kvstore/kv.ts";
import type {
  SliceChange, SliceChanges, SliceEntry, SliceOpResult, SlicePage, SliceTxnResult,
} from "../../sdk/slice-state.ts";
import { nextChanges } from "./kv-changes.ts";
import type { OpenService, ServiceScope, SliceService } from "./slice-services.ts";
import { fieldsOf, invalidArgs, optionalNumber, optionalText, textOf, unknownOp, type Fields } from "./service-args.ts";
import { readMessage, type PublishedMessage, type PublishingParts, type TopicPublisher } from "./topic-service.ts";

export interface KvServicePorts {
  readonly kv: Pick<Kv, "get" | "list" | "transact" | "watch" | "revision">;
  readonly clock: Clock;
  readonly publisher: Pick<TopicPublisher, "parts" | "notePublished">;
}

/** Guards a write: the lease is still held under this token. */
interface Fence {
  readonly key: KeyText;
  readonly token: number;
}

/** A transaction of a slice, and what it depends on besides. */
interface Wanted {
  readonly txn: Txn;
  readonly fence: Fence | undefined;
  readonly messages: readonly PublishedMessage[];
}

/** A node that does not see yet who handles a topic now looks again after this. */
const BEHIND_MS = 20;

export function openKvService(ports: KvServicePorts): OpenService {
  return ({ slice }) => new KvService(ports, slice);
}

class KvService implements SliceService {
  private readonly ports: KvServicePorts;
  private readonly kv: KvServicePorts["kv"];
  private readonly slice: string;
  private readonly root: string;

  constructor(ports: KvServicePorts, slice: string) {
    this.ports = ports;
    this.kv = ports.kv;
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
      case "changes":
        return this.changes(fields, scope);
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

  private async changes(fields: Fields, scope: ServiceScope): Promise<unknown> {
    const prefix = this.root + (optionalText(fields, "prefix") ?? "");
    const from = optionalNumber(fields, "from");
    const isRevision = from === undefined || (Number.isSafeInteger(from) && from > 0);
    if (!isRevision) throw invalidArgs("fromRevision", "a revision");
    const { sets, next } = await nextChanges(this.ports, { prefix, from }, scope);
    return { sets: sets.map((set) => this.shownChanges(set)), next };
  }

  private shownChanges({ revision, changes }: KvChangeSet): SliceChanges {
    const shown = changes.map((change): SliceChange => change.kind === "put"
      ? { kind: "put", entry: this.shown(change.entry) }
      : { kind: "delete", key: change.key.slice(this.root.length) });
    return { revision, changes: shown };
  }

  private async transact(fields: Fields, scope: ServiceScope): Promise<SliceTxnResult> {
    const { clock } = this.ports;
    const endMs = clock.nowMs() + scope.timeoutMs;
    const wanted = await this.wantedOf(fields);
    for (;;) {
      const result = await this.tryTransact(wanted, { ...scope, timeoutMs: Math.max(0, endMs - clock.nowMs()) });
      if (result !== undefined) {
        const { succeeded, revision, results } = result;
        return { succeeded, revision, results: results.map((one) => this.shownResult(one)) };
      }
      if (clock.nowMs() + BEHIND_MS >= endMs) throw behind();
      await clock.sleep(BEHIND_MS, scope.signal);
    }
  }

  private async wantedOf(fields: Fields): Promise<Wanted> {
    const fence = this.fenceOf(fields["fence"]);
    const txn = this.txnOf(fields["txn"]);
    const messages = fields["messages"] === undefined ? [] : messagesOf(fields["messages"]);
    const isGuarded = fence !== undefined || messages.length > 0;
    if (isGuarded && txn.else.some(({ kind }) => kind !== "get")) throw writesInElse();
    if (fence === undefined || fields["attachTo"] === undefined) return { txn, fence, messages };
    const lease = await this.leaseOf(fence);
    const then = txn.then.map((op): Op => (op.kind === "put" ? { ...op, lease } : op));
    return { txn: { ...txn, then }, fence, messages };
  }

  /** This node has taken it, so it has its row applied. */
  private async leaseOf({ key, token }: Fence): Promise<LeaseId> {
    const { entry } = await this.kv.get(key, { consistency: "local" });
    if (entry?.modRevision === token && entry.lease !== undefined) return entry.lease;
    throw fencedOut({ key, token }, entry?.modRevision ?? 0);
  }

  /** Undefined when somebody else handles a topic by now than this node has seen: nothing was written. */
  private async tryTransact(wanted: Wanted, scope: ServiceScope): Promise<TxnResult | undefined> {
    const { txn, fence, messages } = wanted;
    const published = messages.length === 0 ? NOTHING_PUBLISHED : this.ports.publisher.parts(messages);
    if (published === undefined) return undefined;
    const guards = [...(fence === undefined ? [] : [unchanged(fence.key, fence.token)]), ...published.compare];
    const result = await this.kv.transact({
      compare: [...guards, ...txn.compare],
      then: [...txn.then, ...published.then],
      // The last results of `else` say whether it was one of ours that did not hold.
      else: [...txn.else, ...guards.map(({ key }): Op => ({ kind: "get", key }))],
    }, scope);
    if (result.succeeded) {
      if (messages.length > 0) this.ports.publisher.notePublished(messages);
      return { ...result, results: result.results.slice(0, txn.then.length) };
    }
    const seen = result.results.slice(txn.else.length).map(revisionOf);
    if (fence !== undefined && seen[0] !== fence.token) throw fencedOut(fence, seen[0] ?? 0);
    const isAsSeen = guards.every(({ value }, at) => seen[at] === value);
    return isAsSeen ? { ...result, results: result.results.slice(0, txn.else.length) } : undefined;
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

const NOTHING_PUBLISHED: PublishingParts = { compare: [], then: [] };

function messagesOf(value: unknown): readonly PublishedMessage[] {
  if (Array.isArray(value) && value.length <= TXN_OPS_MAX) return value.map(readMessage);
  throw invalidArgs("publish", `a list of at most ${TXN_OPS_MAX} messages`);
}

function revisionOf(result: OpResult): number {
  return result.kind === "get" ? (result.entry?.modRevision ?? 0) : 0;
}

function writesInElse(): AetherError {
  const message = "a transaction under a lease, or one that publishes, may only get in its `else`: that runs too " +
    "when the lease is lost or another slice handles the topic";
  return new AetherError("E_INVALID", message);
}

function fencedOut({ key, token }: Fence, current: number): AetherError {
  const message = `the lease ${key} is not held under the token ${token} any more: nothing was written; take it anew`;
  return new AetherError("E_FENCED", message, { details: { token, current } });
}

function behind(): AetherError {
  const message = "did not do the transaction: this node has not seen who handles its topics now; try again";
  return new AetherError("E_UNAVAILABLE", message);
}

// Owns: one running node as clients reach it: what they ask becomes commands and read rounds, outcomes become replies.
// Does not own: clients (workloads/clients.ts), starting the node (cluster.ts).
import { unreachable } from "../../src/base/assert.ts";
import { AetherError } from "../../src/base/errors.ts";
import type { ProposeOutcome } from "../../src/consensus/group.ts";
import type { GroupDriver } from "../../src/consensus/group-driver.ts";
import { encodeGrant, encodeRenew, encodeRevoke } from "../../src/kvstore/core/command.ts";
import type { KeyText } from "../../src/kvstore/core/key.ts";
import type { LeaseId } from "../../src/kvstore/core/schema.ts";
import { toKvEntry } from "../../src/kvstore/core/stored-entry.ts";
import { encodeTxn } from "../../src/kvstore/core/txn.ts";
import type { ApplyResult, KvState } from "../../src/kvstore/kv-state.ts";
import type { KvWatch, KvWatchHandlers, KvWatchOptions } from "../../src/kvstore/kv.ts";
import type { WatchHub } from "../../src/kvstore/watch-hub.ts";
import type { SimProcess } from "../../src/testkit/sim/sim-process.ts";
import type { World } from "../../src/testkit/sim/world.ts";
import type { Action, Answer } from "./checkers/history.ts";
import type { LeaseChecker } from "./checkers/lease-checker.ts";
import type { Violations } from "./checkers/violations.ts";
import type { HarnessFault } from "./planted.ts";
import type { Reply, Service } from "./workloads/clients.ts";
import type { WatchService } from "./workloads/watchers.ts";

export interface NodeServiceParts {
  readonly hub: WatchHub;
  readonly world: World;
  readonly process: SimProcess;
  readonly driver: GroupDriver;
  readonly kv: KvState;
  readonly leases: LeaseChecker;
  readonly violations: Violations;
  readonly planted: HarnessFault | undefined;
}

/** Planted faults: a watch that goes on does so one revision too late or too early. */
const RESUME_SHIFTS: Readonly<Record<string, number>> = { "watch-resumes-late": 1, "watch-resumes-early": -1 };

type Command = Exclude<Action, { readonly kind: "read" }>;
type Done = Extract<ApplyResult, { readonly kind: "done" }>;
type Refused = Extract<ApplyResult, { readonly kind: "refused" }>;

export class NodeService implements Service, WatchService {
  /** Callbacks that are still owed to callers. */
  owed = 0;
  private readonly parts: NodeServiceParts;

  constructor(parts: NodeServiceParts) {
    this.parts = parts;
  }

  perform(action: Action, reply: (reply: Reply) => void): void {
    const { violations, process } = this.parts;
    this.owed += 1;
    let isInCall = true;
    let answers = 0;
    const answer = (made: Reply): void => {
      answers += 1;
      this.owed -= 1;
      if (isInCall) violations.report("assertion", `${process.node} called back inside the call`);
      if (answers > 1) violations.report("assertion", `${process.node} called back ${answers} times`);
      reply(made);
    };
    if (action.kind === "read") this.read(action.key, answer);
    else this.propose(action, answer);
    isInCall = false;
  }

  get revision(): number {
    return this.parts.kv.revision;
  }

  watch(prefix: string, handlers: KvWatchHandlers, { fromRevision = 1, ...rest }: KvWatchOptions): KvWatch {
    const shift = fromRevision === 1 ? 0 : RESUME_SHIFTS[this.parts.planted ?? ""] ?? 0;
    return this.parts.hub.watch(prefix, handlers, { ...rest, fromRevision: fromRevision + shift });
  }

  private propose(action: Command, answer: (reply: Reply) => void): void {
    if (action.kind === "revoke") this.parts.leases.revoking(action.lease);
    this.parts.driver.propose(this.encode(action), (outcome) => answer(this.replyOf(action, outcome)));
  }

  private encode(action: Command): Uint8Array {
    switch (action.kind) {
      case "txn":
        return encodeTxn(action.txn, this.parts.planted === "requests-not-named" ? undefined : action.request);
      case "grant":
        return encodeGrant(action.ttlMs, action.requests);
      case "renew":
        return encodeRenew([action.lease]);
      case "revoke":
        return encodeRevoke(action.lease);
      default:
        return unreachable(action);
    }
  }

  private read(key: KeyText, answer: (reply: Reply) => void): void {
    const { driver, planted, process, world } = this.parts;
    if (planted === "read-without-round") {
      const reply = this.readHere(key);
      world.schedule({ delayMs: 0, kind: "local-read", process }, () => answer(reply));
      return;
    }
    driver.readBarrier((outcome) => answer(outcome.kind === "refused" ? { kind: "failed" } : this.readHere(key)));
  }

  private readHere(key: KeyText): Reply {
    const { kv, process } = this.parts;
    try {
      const { entry, revision } = kv.getLocal(key);
      return { kind: "ok", answer: { kind: "read", entry, revision } };
    } catch (error) {
      // A state that cannot be read says so, and its node stops.
      if (process.isStopping && error instanceof AetherError) return { kind: "failed" };
      throw error;
    }
  }

  private replyOf(action: Command, outcome: ProposeOutcome): Reply {
    switch (outcome.kind) {
      case "applied":
        // What a group gives as the result of a command is what KvState.applyBatch gave for it.
        return this.answerOf(action, outcome.result as ApplyResult);
      case "refused":
        return { kind: "failed" };
      case "unknown":
        return { kind: "unknown" };
      default:
        return unreachable(outcome);
    }
  }

  private answerOf(action: Command, result: ApplyResult): Reply {
    const isOther = action.kind !== "txn";
    if (action.kind === "txn" && result.kind === "done") return ok(txnAnswer(result));
    if (action.kind === "grant" && result.kind === "granted") return ok({ kind: "granted", lease: result.lease });
    if (action.kind === "revoke" && result.kind === "ended") return ok({ kind: "revoked", revision: result.revision });
    if (action.kind === "renew" && result.kind === "renewed") {
      return result.gone.length === 0 ? ok({ kind: "renewed" }) : this.gone(action.lease);
    }
    const lease = result.kind === "refused" ? this.leaseMissed(action, result) : undefined;
    if (lease !== undefined) return this.gone(lease);
    // A later request has taken the place of this one, or what it read was too much to keep.
    if (result.kind === "refused" && result.code === "E_CONFLICT" && !isOther) return { kind: "gone" };
    if (!this.parts.process.isStopping) {
      this.parts.violations.report("assertion", `a well-formed command was answered ${JSON.stringify(result)}`);
    }
    return { kind: "unknown" };
  }

  /** The lease that a command was refused for, because it has ended. */
  private leaseMissed(action: Command, { code, details }: Refused): LeaseId | undefined {
    const { lease, session, latest, revision } = details as Readonly<Record<string, LeaseId | undefined>>;
    if (code === "E_NOT_FOUND") return lease;
    const isUnknownSession = code === "E_CONFLICT" && latest === undefined && revision === undefined;
    return isUnknownSession && action.kind === "txn" ? session : undefined;
  }

  private gone(lease: LeaseId): Reply {
    this.parts.leases.refused(this.parts.process.node, lease);
    return { kind: "gone", lease };
  }
}

function ok(answer: Answer): Reply {
  return { kind: "ok", answer };
}

function txnAnswer({ succeeded, revision, results: stored }: Done): Answer {
  const results = stored.map((one): (Answer & { kind: "txn" })["result"]["results"][number] => {
    if (one.kind !== "get") return one;
    return one.entry === undefined ? { kind: "get" } : { kind: "get", entry: toKvEntry(one.key, one.entry) };
  });
  return { kind: "txn", result: { succeeded, revision, results } };
}

// Owns: who this cluster is. First all voters meet once and fsync the same list of (node, uid), then a second record
// "formed"; later starts need only a quorum. And whether the others still accept this node: a data directory that is
// empty, foreign or older than what it had promised is not the same voter. Emptiness is never read as newness: a new
// node says that it joins, and is told how the cluster formed once it is a member.
import { sha256 } from "../../base/digest.ts";
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { Effects, FirstVoter, JournalEntry } from "./effects.ts";
import { type Membership, UID_UNKNOWN } from "./membership.ts";
import type { Genesis, Message, Refusal } from "./message.ts";
import type { Peer, PeerView } from "./peer-view.ts";
import { CLUSTER_VERSION_MAX, describeOldBuild } from "./version.ts";

type Hello = Extract<Message, { kind: "hello" }>;
type HelloReply = Extract<Message, { kind: "hello-reply" }>;

export interface AdmissionState {
  readonly voters: readonly FirstVoter[] | undefined;
  readonly isFormed: boolean;
}

export interface SelfIdentity {
  readonly node: NodeId;
  readonly uid: NodeUid;
  readonly share: string;
  readonly startId: string;
  readonly startWrite: number;
  /** Where peers reach this node. */
  readonly address: string;
  /** Digest of the state that this directory was restored from. */
  readonly seed: string | undefined;
}

export interface AdmissionOptions {
  readonly self: SelfIdentity;
  /** The first voters by name; none for a node that joins. */
  readonly firstVoters: readonly NodeId[];
  readonly windowSlots: number;
  readonly membership: Membership;
  /** The slot whose voters must accept this node. */
  readonly applied: () => number;
  /** Slots before this one are on this node's disk as applied. */
  readonly synced: () => number;
}

/** What a hello came to. */
export interface HelloResult {
  /** The sender, once it counts as met. */
  readonly peer: Peer | undefined;
  /** What forming the cluster needs on disk next. */
  readonly entry: JournalEntry | undefined;
}

export class Admission {
  readonly self: SelfIdentity;
  private readonly firstVoters: readonly NodeId[];
  private readonly windowSlots: number;
  private readonly membership: Membership;
  private readonly applied: () => number;
  private readonly synced: () => number;
  /** The list of first voters, once this node has written it. */
  private list: readonly FirstVoter[] | undefined;
  /** What the list's cluster was restored from. */
  private seed: string | undefined;
  /** Set once the list is fsynced: only then is it told. */
  private listDigest: string | undefined;
  private isFormedRequested = false;
  private formed: boolean;
  private readonly met = new Map<NodeId, Hello>();
  private readonly acceptedBy = new Set<NodeUid>();
  private readonly refusedBy = new Map<NodeId, Refusal>();

  constructor(options: AdmissionOptions, recovered: AdmissionState & { readonly seed: string | undefined }) {
    const { self, firstVoters, windowSlots, membership, applied, synced } = options;
    this.self = self;
    this.firstVoters = firstVoters;
    this.windowSlots = windowSlots;
    this.membership = membership;
    this.applied = applied;
    this.synced = synced;
    this.list = recovered.voters;
    this.seed = recovered.voters === undefined ? self.seed : recovered.seed;
    this.listDigest = recovered.voters === undefined ? undefined : this.digestOf(recovered.voters);
    this.formed = recovered.isFormed;
    this.acceptedBy.add(self.uid);
  }

  get isFormed(): boolean {
    return this.formed;
  }

  /** Ballots and proposals may leave: a quorum of the voters, itself included if it is one, has accepted this start. */
  get isAdmitted(): boolean {
    const list = this.membership.rulingAt(this.applied());
    return this.formed && list.countOf(this.acceptedBy) >= list.quorum;
  }

  isAcceptedBy(uid: NodeUid): boolean {
    return this.acceptedBy.has(uid);
  }

  /** The cluster was restored from a backup, and this directory was not. */
  get lacksSeed(): boolean {
    return this.formed && this.seed !== this.self.seed;
  }

  /** A secret that all first voters contributed to: it seeds the coin. */
  get secret(): string {
    // Not the digest itself, which every hello tells.
    return this.list === undefined ? "" : sha256(`coin\n${this.listText(this.list)}`);
  }

  /** Why this node does not take part yet, for people. */
  waitingFor(): string | undefined {
    if (!this.formed) return this.waitingToForm();
    const refusal = [...this.refusedBy.values()][0];
    if (this.isAdmitted) return undefined;
    if (refusal !== undefined) return refusal.message;
    const list = this.membership.rulingAt(this.applied());
    return `needs ${list.quorum} voters to accept it, has ${list.countOf(this.acceptedBy)}`;
  }

  /** Its hello was accepted here since this start: its other messages may count. */
  hasMet(node: NodeId): boolean {
    return this.met.has(node);
  }

  hello(to: NodeId, doubtBelow: number): Message {
    const { uid, startId, startWrite, address, seed } = this.self;
    const { listDigest, formed: isFormed } = this;
    const met = this.met.get(to);
    // Needed for the list alone, so a formed cluster keeps its secret.
    const share = isFormed ? "" : this.self.share;
    // Only for members: a node that came before the cluster formed would take itself for one.
    const isOwed = isFormed && met?.isFormed === false && this.membership.isMember(met.uid);
    const genesis = isOwed ? this.genesis : undefined;
    const start = { uid, startId, startWrite, doubtBelow, share, listDigest, isFormed, wantsHello: met === undefined };
    const isJoining = !isFormed && this.firstVoters.length === 0;
    return { kind: "hello", ...start, address, isJoining, supportedVersion: CLUSTER_VERSION_MAX, seed, genesis };
  }

  /** The connection of this voter is gone: its next start or its next hello has to be judged again. */
  forget(node: NodeId): void {
    this.met.delete(node);
  }

  /** Answers a hello. */
  onHello(from: NodeId, hello: Hello, peers: PeerView, effects: Effects): HelloResult {
    if (this.formed && this.mayJoin(from, hello) && hello.supportedVersion >= this.membership.version) {
      effects.changes.push({ kind: "add", node: from, uid: hello.uid, address: hello.address });
      return { peer: undefined, entry: undefined };
    }
    const refusal = this.judge(from, hello, peers);
    // Only a formed voter may accept: an empty one knows nothing that could speak against the other.
    if (this.formed || refusal !== undefined) {
      effects.send(from, { kind: "hello-reply", startId: hello.startId, refusal });
    }
    if (refusal !== undefined) {
      effects.alarms.push({ kind: "refused", by: this.self.node, refusal });
      this.met.delete(from);
      return { peer: undefined, entry: undefined };
    }
    this.met.set(from, hello);
    const peer = peers.startAccepted(from, hello.uid, hello);
    peer.supportedVersion = hello.supportedVersion;
    return { peer, entry: this.adopt(hello, effects) ?? this.nextRecord() };
  }

  onReply(from: NodeId, reply: HelloReply, effects: Effects): void {
    if (reply.startId !== this.self.startId) return;
    if (reply.refusal === undefined) {
      const uid = this.met.get(from)?.uid;
      // Before its own hello nobody knows which data directory accepts; it will say so again.
      if (uid !== undefined) this.acceptedBy.add(uid);
      this.refusedBy.delete(from);
      return;
    }
    if (this.isOutdated(reply.refusal)) return;
    this.refusedBy.set(from, reply.refusal);
    effects.alarms.push({ kind: "refused", by: from, refusal: reply.refusal });
    // One confused peer must not stop a healthy node: without proof it stops when no quorum can accept it any more.
    if (reply.refusal.isProof || this.isHopeless) effects.refused = reply.refusal;
  }

  /** The list is fsynced: from now on it is told, and may already be confirmed by all. */
  listWritten(): JournalEntry | undefined {
    if (this.list === undefined) return undefined;
    this.listDigest = this.digestOf(this.list);
    return this.nextRecord();
  }

  formedWritten(): void {
    this.formed = true;
    // They were of an empty directory.
    this.refusedBy.clear();
    if (this.list !== undefined && !this.membership.isFormed) this.membership.form(this.list);
  }

  /** What forming needs on disk next. A single voter meets nobody: it forms by itself. */
  nextRecord(): JournalEntry | undefined {
    if (this.formed) return undefined;
    if (this.list === undefined) return this.listWhenAllMet();
    if (this.isFormedRequested || this.listDigest === undefined || !this.isConfirmed(this.listDigest)) return undefined;
    this.isFormedRequested = true;
    return { kind: "formed" };
  }

  /** The late answer to a hello of before this node, which joined, knew that it is a member. */
  private isOutdated({ isProof, code }: Refusal): boolean {
    return this.firstVoters.length === 0 && this.formed && !isProof && code !== "E_DATA_FOREIGN";
  }

  private get genesis(): Genesis | undefined {
    if (this.list === undefined) return undefined;
    return { windowSlots: this.windowSlots, seed: this.seed, voters: this.list };
  }

  private get isHopeless(): boolean {
    const voters = this.formed ? this.membership.rulingAt(this.applied()).nodes : this.firstVoters;
    if (voters.length === 0) return false;
    const left = voters.filter((node) => !this.refusedBy.has(node)).length;
    return left < Math.floor(voters.length / 2) + 1;
  }

  private waitingToForm(): string {
    const refusal = [...this.refusedBy.values()][0];
    if (refusal !== undefined) return refusal.message;
    if (this.firstVoters.length === 0) {
      return this.met.size === 0
        ? "joins: no node of the cluster has answered yet; check the addresses under `join`"
        : "joins: waits to become a member";
    }
    const unmet = this.firstVoters.filter((node) => node !== this.self.node && !this.met.has(node));
    const others = [...this.met].filter(([, hello]) => hello.seed !== this.self.seed).map(([node]) => node);
    if (this.list === undefined && others.length > 0) {
      return (
        `${others.join(", ")} and this node were not restored from the same backup: restore the data directories of ` +
        "all first voters from one backup, or of none"
      );
    }
    if (this.list === undefined)
      return `the cluster forms when all first voters have met; not met yet: ${unmet.join(", ")}`;
    return "the cluster forms: voters confirm the list of each other";
  }

  /** An empty directory that asks to be a member, under a name that is free for it. */
  private mayJoin(from: NodeId, hello: Hello): boolean {
    if (hello.isFormed || hello.listDigest !== undefined || this.membership.isMember(hello.uid)) return false;
    const named = this.membership.named(from);
    const isFree = named.length === 0 && hello.isJoining;
    const isAwaited = named.length === 1 && (named[0]?.isLost === true || named[0]?.uid === UID_UNKNOWN);
    return (isFree || isAwaited) && !this.membership.isRemoved(hello.uid);
  }

  /** The cluster that this empty directory has become a member of, as one of its nodes tells it. */
  private adopt(hello: Hello, effects: Effects): JournalEntry | undefined {
    const { genesis } = hello;
    if (this.formed || this.list !== undefined || genesis === undefined) return undefined;
    if (genesis.windowSlots !== this.windowSlots) {
      effects.refused = {
        code: "E_DATA_FOREIGN",
        message:
          `the cluster was formed with consensus.windowSlots ${genesis.windowSlots}: set it here, empty the data ` +
          "directory and start again",
        isProof: true,
      };
      return undefined;
    }
    this.seed = genesis.seed;
    this.list = genesis.voters;
    return { kind: "voter-list", voters: genesis.voters, seed: genesis.seed };
  }

  private judge(from: NodeId, hello: Hello, peers: PeerView): Refusal | undefined {
    const stranger = this.judgeCluster(from, hello) ?? (this.formed ? this.judgeMember(from, hello) : undefined);
    if (stranger !== undefined) return stranger;
    // A new start writes before it says hello: a number that this voter had reached before means an older disk.
    // Before there is a list nothing was promised.
    const promise = this.list === undefined ? undefined : peers.promiseOf(from, hello.uid);
    if (promise === undefined || promise.startId === hello.startId || hello.startWrite > promise.writeNumber) {
      return undefined;
    }
    return this.lost(
      from,
      `starts at write ${hello.startWrite}, but it had promised write ${promise.writeNumber} to this cluster`,
      hello.listDigest !== undefined && hello.listDigest === this.listDigest,
    );
  }

  private judgeCluster(from: NodeId, hello: Hello): Refusal | undefined {
    if (this.listDigest === undefined || hello.listDigest === undefined || this.listDigest === hello.listDigest) {
      return undefined;
    }
    return {
      code: "E_DATA_FOREIGN",
      message:
        `the data directory of ${from} belongs to another cluster of the same name, or ${from} was started with ` +
        "another voter list or consensus.windowSlots: point it to its own directory, with the same settings",
      isProof: false,
    };
  }

  private judgeMember(from: NodeId, hello: Hello): Refusal | undefined {
    const { membership } = this;
    if (hello.supportedVersion < membership.version) {
      const message = describeOldBuild(from, hello.supportedVersion, membership.version);
      // What a build says of itself needs no second witness.
      return { code: "E_VERSION", message, isProof: true };
    }
    // Until the list without it rules, its votes may be needed: without them that list would never come to rule. What
    // was applied and not written may have to be decided again after a crash.
    const isStillVoting = membership.listsFrom(this.synced()).some((list) => list.has(hello.uid));
    if (membership.isRemoved(hello.uid)) return isStillVoting ? undefined : removedRefusal(from);
    const member = membership.find(hello.uid);
    if (member?.isLost === true) return this.lost(from, "was declared lost, and another node takes its place", true);
    if (member !== undefined && member.node !== from) return this.lost(from, `belongs to ${member.node}`, true);
    // A formed node that this one does not know may well be ahead of it: what it tells is decided.
    if (member !== undefined || hello.isFormed || hello.listDigest === this.listDigest) return undefined;
    const isTaken = membership.named(from).length > 0;
    if (isTaken) return this.lost(from, "is empty or not the one it had when it became a member", false);
    return {
      code: "E_REMOVED",
      message: `${from} is no member of this cluster: start it with \`join\` and an empty data directory`,
      isProof: false,
    };
  }

  private lost(node: NodeId, what: string, isProof: boolean): Refusal {
    const named = this.membership.named(node);
    const known = (named.find(({ isVoter }) => isVoter) ?? named[0])?.uid;
    const directory = known === undefined || known === UID_UNKNOWN ? "" : ` --directory ${known}`;
    return {
      code: "E_DATA_LOST",
      message:
        `the data directory of ${node} ${what}; a voter without its data is not the same voter: start ${node} with ` +
        `its own data directory, or, if that is gone, run \`aether node replace ${node}${directory}\` and start it ` +
        "with an empty one",
      isProof,
    };
  }

  private listWhenAllMet(): JournalEntry | undefined {
    if (this.firstVoters.length === 0) return undefined;
    const list: FirstVoter[] = [];
    for (const node of this.firstVoters) {
      const hello = node === this.self.node ? this.self : this.met.get(node);
      if (hello === undefined) return undefined;
      // The cluster has formed without this directory: it will be refused, and must not make up a list of its own.
      if ("isFormed" in hello && hello.isFormed) return undefined;
      // Restored from different backups: their states would not be the same.
      if (hello.seed !== this.self.seed) return undefined;
      list.push({ node, uid: hello.uid, share: hello.share, address: hello.address });
    }
    this.list = list;
    return { kind: "voter-list", voters: list, seed: this.self.seed };
  }

  private digestOf(list: readonly FirstVoter[]): string {
    return sha256(`list\n${this.listText(list)}`);
  }

  /** Everything the first voters must agree on. */
  private listText(list: readonly FirstVoter[]): string {
    const voters = list.map(({ node, uid, share, address }) => `${node}=${uid}=${share}=${address}`);
    return [`window=${this.windowSlots}`, `seed=${this.seed ?? ""}`, ...voters].join("\n");
  }

  /** All have fsynced the same list, or one that formed with it proves that all had. */
  private isConfirmed(digest: string): boolean {
    const others = [...this.firstVoters].filter((node) => node !== this.self.node).map((node) => this.met.get(node));
    if ([...this.met.values()].some((hello) => hello.isFormed && hello.listDigest === digest)) return true;
    return this.firstVoters.length > 0 && others.every((hello) => hello?.listDigest === digest);
  }
}

function removedRefusal(node: NodeId): Refusal {
  return {
    code: "E_REMOVED",
    message:
      `${node} was removed from the cluster and its data directory cannot come back: to add the node again, start it ` +
      "with an empty data directory and `join`",
    isProof: true,
  };
}

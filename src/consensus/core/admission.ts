// Owns: who this cluster is. First all voters meet once and fsync the same list of (node, uid), then a second record
// "formed"; later starts need only a quorum. And whether the others still accept this node: a data directory that is
// empty, foreign or older than what it had promised is not the same voter. Emptiness is never read as newness.
import { sha256 } from "../../base/digest.ts";
import type { NodeId, NodeUid } from "../../base/ids.ts";
import type { Effects, FirstVoter, JournalEntry } from "./effects.ts";
import type { Message, Refusal } from "./message.ts";
import type { PeerView } from "./peer-view.ts";
import { quorumOf } from "./quorum.ts";

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
}

export class Admission {
  readonly self: SelfIdentity;
  private readonly voters: readonly NodeId[];
  private readonly quorum: number;
  private readonly windowSlots: number;
  /** The list of first voters, once this node has written it. */
  private list: readonly FirstVoter[] | undefined;
  /** Set once the list is fsynced: only then is it told. */
  private listDigest: string | undefined;
  private isFormedRequested = false;
  private formed: boolean;
  private readonly met = new Map<NodeId, Hello>();
  private readonly acceptedBy = new Set<NodeId>();
  private readonly refusedBy = new Map<NodeId, Refusal>();

  constructor(self: SelfIdentity, voters: readonly NodeId[], windowSlots: number, recovered: AdmissionState) {
    this.self = self;
    this.voters = voters;
    this.quorum = quorumOf(voters.length);
    this.windowSlots = windowSlots;
    this.list = recovered.voters;
    this.listDigest = recovered.voters === undefined ? undefined : this.digestOf(recovered.voters);
    this.formed = recovered.isFormed;
    this.acceptedBy.add(self.node);
  }

  get isFormed(): boolean {
    return this.formed;
  }

  /** Ballots and proposals may leave: a quorum, itself included, has accepted this start. */
  get isAdmitted(): boolean {
    return this.formed && this.acceptedBy.size >= this.quorum;
  }

  isAcceptedBy(node: NodeId): boolean {
    return this.acceptedBy.has(node);
  }

  /** A secret that all first voters contributed to: it seeds the coin. */
  get secret(): string {
    // Not the digest itself, which every hello tells.
    return this.list === undefined ? "" : sha256(`coin\n${this.listText(this.list)}`);
  }

  /** The uid of a voter, once the list is known. */
  uidOf(node: NodeId): NodeUid | undefined {
    return this.list?.find((voter) => voter.node === node)?.uid;
  }

  isVoterUid(uid: NodeUid): boolean {
    return this.list?.some((voter) => voter.uid === uid) ?? false;
  }

  /** Why this node does not take part yet, for people. */
  waitingFor(): string | undefined {
    const unmet = this.voters.filter((node) => node !== this.self.node && !this.met.has(node));
    if (this.list === undefined)
      return `the cluster forms when all first voters have met; not met yet: ${unmet.join(", ")}`;
    if (!this.formed) return "the cluster forms: voters confirm the list of each other";
    const refusal = [...this.refusedBy.values()][0];
    if (!this.isAdmitted && refusal !== undefined) return refusal.message;
    return this.isAdmitted ? undefined : `needs ${this.quorum} voters to accept it, has ${this.acceptedBy.size}`;
  }

  /** Its hello was accepted here since this start: its other messages may count. */
  hasMet(node: NodeId): boolean {
    return this.met.has(node);
  }

  hello(to: NodeId, doubtBelow: number): Message {
    const { uid, startId, startWrite } = this.self;
    const { listDigest, formed: isFormed } = this;
    // Needed for the list alone, so a formed cluster keeps its secret.
    const share = isFormed ? "" : this.self.share;
    const wantsHello = !this.met.has(to);
    return { kind: "hello", uid, startId, startWrite, doubtBelow, share, listDigest, isFormed, wantsHello };
  }

  /** The connection of this voter is gone: its next start or its next hello has to be judged again. */
  forget(node: NodeId): void {
    this.met.delete(node);
  }

  /** Answers a hello; returns what forming the cluster needs on disk next, if anything. */
  onHello(from: NodeId, hello: Hello, peers: PeerView, effects: Effects): JournalEntry | undefined {
    const refusal = this.judge(from, hello, peers);
    // Only a formed voter may accept: an empty one knows nothing that could speak against the other.
    if (this.formed || refusal !== undefined) {
      effects.send(from, { kind: "hello-reply", startId: hello.startId, refusal });
    }
    if (refusal !== undefined) {
      effects.alarms.push({ kind: "refused", by: this.self.node, refusal });
      this.met.delete(from);
      return undefined;
    }
    this.met.set(from, hello);
    peers.startAccepted(from, hello.startId, hello.startWrite);
    return this.nextRecord();
  }

  onReply(from: NodeId, reply: HelloReply, effects: Effects): void {
    if (reply.startId !== this.self.startId) return;
    if (reply.refusal === undefined) {
      this.acceptedBy.add(from);
      this.refusedBy.delete(from);
      return;
    }
    this.refusedBy.set(from, reply.refusal);
    effects.alarms.push({ kind: "refused", by: from, refusal: reply.refusal });
    // One confused peer must not stop a healthy node: without proof it stops when no quorum can accept it any more.
    const isHopeless = this.voters.length - this.refusedBy.size < this.quorum;
    if (reply.refusal.isProof || isHopeless) effects.refused = reply.refusal;
  }

  /** The list is fsynced: from now on it is told, and may already be confirmed by all. */
  listWritten(): JournalEntry | undefined {
    if (this.list === undefined) return undefined;
    this.listDigest = this.digestOf(this.list);
    return this.nextRecord();
  }

  formedWritten(): void {
    this.formed = true;
  }

  private judge(from: NodeId, hello: Hello, peers: PeerView): Refusal | undefined {
    if (this.listDigest !== undefined && hello.listDigest !== undefined && this.listDigest !== hello.listDigest) {
      return {
        code: "E_DATA_FOREIGN",
        message:
          `the data directory of ${from} belongs to another cluster of the same name, or ${from} was started with ` +
          "another voter list or consensus.windowSlots: point it to its own directory, with the same settings",
        isProof: false,
      };
    }
    const known = this.uidOf(from);
    if (known !== undefined && known !== hello.uid) {
      return lost(from, "is empty or not the one it had when the cluster formed", false);
    }
    const peer = peers.get(from);
    // A new start writes before it says hello: a number that this voter had reached before means an older disk.
    // Before there is a list nothing was promised.
    const isNewStart = peer !== undefined && hello.startId !== peer.startId && this.list !== undefined;
    if (isNewStart && hello.startWrite <= peer.writeNumber) {
      return lost(
        from,
        `starts at write ${hello.startWrite}, but it had promised write ${peer.writeNumber} to this cluster`,
        hello.listDigest !== undefined && hello.listDigest === this.listDigest,
      );
    }
    return undefined;
  }

  /** A single-voter cluster meets nobody: it forms by itself. */
  nextRecord(): JournalEntry | undefined {
    if (this.formed) return undefined;
    if (this.list === undefined) return this.listWhenAllMet();
    if (this.isFormedRequested || this.listDigest === undefined || !this.isConfirmed(this.listDigest)) return undefined;
    this.isFormedRequested = true;
    return { kind: "formed" };
  }

  private listWhenAllMet(): JournalEntry | undefined {
    const list: FirstVoter[] = [];
    for (const node of this.voters) {
      const hello = node === this.self.node ? this.self : this.met.get(node);
      if (hello === undefined) return undefined;
      // The cluster has formed without this directory: it will be refused, and must not make up a list of its own.
      if ("isFormed" in hello && hello.isFormed) return undefined;
      list.push({ node, uid: hello.uid, share: hello.share });
    }
    this.list = list;
    return { kind: "voter-list", voters: list };
  }

  private digestOf(list: readonly FirstVoter[]): string {
    return sha256(`list\n${this.listText(list)}`);
  }

  /** Everything the first voters must agree on. */
  private listText(list: readonly FirstVoter[]): string {
    const voters = list.map((voter) => `${voter.node}=${voter.uid}=${voter.share}`);
    return [`window=${this.windowSlots}`, ...voters].join("\n");
  }

  /** All have fsynced the same list, or one that formed with it proves that all had. */
  private isConfirmed(digest: string): boolean {
    const others = this.voters.filter((node) => node !== this.self.node).map((node) => this.met.get(node));
    if (others.some((hello) => hello?.isFormed === true && hello.listDigest === digest)) return true;
    return others.every((hello) => hello?.listDigest === digest);
  }
}

function lost(node: NodeId, what: string, isProof: boolean): Refusal {
  return {
    code: "E_DATA_LOST",
    message:
      `the data directory of ${node} ${what}; a voter without its data is not the same voter: ` +
      `start ${node} with its own data directory`,
    isProof,
  };
}

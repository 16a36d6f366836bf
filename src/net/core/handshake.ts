// Owns: who may talk to whom: what a node says about itself and the judgement of what another one says.
// Does not own: bytes (handshake-codec.ts), the order of steps (link-state.ts), time, sockets.
import type { NodeId } from "../../base/ids.ts";

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

/** The protocol versions this build speaks. A version fixes the frames, the channels and their messages. */
export const PROTOCOL_VERSIONS: VersionRange = { min: 1, max: 1 };

/** What one side says about itself. */
export interface Hello {
  readonly versions: VersionRange;
  readonly cluster: string;
  readonly node: NodeId;
  /** Random per run of a process: tells a second process with the same id from a second connection. */
  readonly process: string;
  /** It asks its way in, because it is no member yet or reaches nobody: so it dials whatever the ids are. */
  readonly isGuest?: boolean;
  /** The numbers of the channels that its build has; absent from one that has those of the first release. */
  readonly channels?: readonly number[];
}

export const REFUSAL_KINDS = [
  /** Not from a node at all. */
  "malformed",
  /** No protocol version in common. */
  "version",
  "cluster",
  /** A node reached itself. */
  "self",
  /** Two processes use one node id. */
  "same-id",
  /** No room for another node that is not a member. */
  "too-many-guests",
  /** The address belongs to another node than the one that was dialed. */
  "other-node",
  /** The higher id dialed. */
  "direction",
  /** Both dialed, or two addresses lead to one node: one connection stays. */
  "already-connected",
] as const;
export type RefusalKind = (typeof REFUSAL_KINDS)[number];

export interface Refusal {
  readonly kind: RefusalKind;
  /** One sentence for the log of both sides. */
  readonly text: string;
}

export interface HelloContext {
  readonly own: Hello;
  readonly isKnown: (node: NodeId) => boolean;
  /** Whether one more node that is not known may connect: to join, or to be told that it was removed. */
  readonly hasRoomForGuest: boolean;
  /** Whom we dialed; undefined for an accepted connection. */
  readonly dialed: DialTarget | undefined;
  /** The live connection to a node, if there is one. */
  readonly connected: (node: NodeId) => ConnectedPeer | undefined;
}

/** A node that we know, or an address behind which we know nobody yet. */
export type DialTarget = { readonly kind: "node"; readonly node: NodeId } | { readonly kind: "address" };

export interface ConnectedPeer {
  readonly process: string;
  /** It was dialed by the node with the lower id: no other connection replaces it but one of its own direction. */
  readonly isRegular: boolean;
}

export type Judgement =
  | { readonly kind: "accepted"; readonly version: number }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** Decides whether the node that says `hello` is the peer it should be. */
export function judgeHello(hello: Hello, context: HelloContext): Judgement {
  const version = negotiate(context.own.versions, hello.versions);
  if (version === undefined) return refused("version", versionText(context.own, hello));
  const refusal = judgeIdentity(hello, context);
  return refusal === undefined ? { kind: "accepted", version } : { kind: "refused", refusal };
}

/** The highest version both speak. */
function negotiate(own: VersionRange, other: VersionRange): number | undefined {
  const version = Math.min(own.max, other.max);
  return version >= Math.max(own.min, other.min) ? version : undefined;
}

function versionText(own: Hello, other: Hello): string {
  return (
    `E_VERSION: ${own.node} speaks protocol versions ${range(own.versions)} and ${other.node} speaks ` +
    `${range(other.versions)}; run releases on both that have one in common`
  );
}

function range({ min, max }: VersionRange): string {
  return min === max ? String(min) : `${min} to ${max}`;
}

function judgeIdentity(hello: Hello, context: HelloContext): Refusal | undefined {
  const { own } = context;
  if (hello.cluster !== own.cluster) {
    const clusters = `${own.node} is in the cluster "${own.cluster}" and ${hello.node} in "${hello.cluster}"`;
    return { kind: "cluster", text: `${clusters}; correct the address, or "cluster" in one of the configs` };
  }
  if (hello.node === own.node) return sameAsOwn(hello, own);
  return judgeKnown(hello, context) ?? judgeDirection(hello, context) ?? judgeProcess(hello, context);
}

function judgeKnown(hello: Hello, context: HelloContext): Refusal | undefined {
  const { own, dialed } = context;
  if (dialed?.kind === "node" && hello.node !== dialed.node) {
    const text = `${own.node} dialed ${dialed.node} and met ${hello.node}; correct the addresses of the nodes`;
    return { kind: "other-node", text };
  }
  if (context.isKnown(hello.node) || dialed?.kind === "address" || context.hasRoomForGuest) return undefined;
  const text = `${own.node} does not know ${hello.node}, and too many such nodes are connected; it lets in more later`;
  return { kind: "too-many-guests", text };
}

function judgeDirection(hello: Hello, context: HelloContext): Refusal | undefined {
  const { own, dialed } = context;
  const connected = context.connected(hello.node);
  if (dialed?.kind === "address" && connected !== undefined) return alreadyConnected(own.node, hello.node);
  if (isRegularDirection(own.node, hello.node, dialed === undefined ? "acceptor" : "dialer")) return undefined;
  if (dialed === undefined && hello.isGuest !== true) {
    const text = `of two nodes the one with the lower id dials: ${hello.node} must wait for ${own.node}`;
    return { kind: "direction", text };
  }
  return connected?.isRegular === true ? alreadyConnected(own.node, hello.node) : undefined;
}

export function alreadyConnected(own: NodeId, other: NodeId): Refusal {
  return { kind: "already-connected", text: `${own} and ${other} are connected already` };
}

/** Of two nodes the one with the lower id dials; only guests, whom nobody knows, dial downwards. */
export function isRegularDirection(own: NodeId, other: NodeId, role: "dialer" | "acceptor"): boolean {
  return role === "dialer" ? own < other : other < own;
}

function sameAsOwn(hello: Hello, own: Hello): Refusal {
  if (hello.process === own.process) {
    return { kind: "self", text: `${own.node} reached itself; correct the addresses of the nodes` };
  }
  return { kind: "same-id", text: `two processes call themselves ${own.node}; give each node an id of its own` };
}

/** While one process holds the connection of a node, another one is a second node with the same id. */
function judgeProcess(hello: Hello, context: HelloContext): Refusal | undefined {
  const connected = context.connected(hello.node);
  if (connected === undefined || connected.process === hello.process) return undefined;
  const text =
    `${context.own.node} is connected to another process that calls itself ${hello.node}; ` +
    `give each node an id of its own (after a restart this ends by itself within a second)`;
  return { kind: "same-id", text };
}

function refused(kind: RefusalKind, text: string): Judgement {
  return { kind: "refused", refusal: { kind, text } };
}

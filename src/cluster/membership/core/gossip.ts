// Owns: the one message of the channel "cluster": what a node tells every peer four times a second.
import { decodeUntrusted, encode } from "../../../base/codec.ts";
import { AetherError } from "../../../base/errors.ts";
import { parseNodeId, type NodeId } from "../../../base/ids.ts";
import { KiB } from "../../../base/units.ts";
import { encodeTallies, parseTallies, type RolloutTally } from "../../rollouts/core/version-tally.ts";

export interface Gossip {
  readonly incarnation: number;
  readonly suspects: readonly NodeId[];
  /** Slots that the node has applied; undefined from a build that does not say. */
  readonly applied: number | undefined;
  /** How the node gets what it misses, while it is far behind. */
  readonly catchUp: GossipCatchUp | undefined;
  /** How the node's calls to both versions of canaries went. */
  readonly tallies: readonly RolloutTally[];
  /** What the node's wall clock shows; undefined from a build that does not say. */
  readonly wallMs: number | undefined;
}

export interface GossipCatchUp {
  readonly kind: "log" | "snapshot";
  readonly slotsBehind: number;
  readonly bytesReceived: number;
}

const GOSSIP_VERSION = 1;
const GOSSIP_BYTES_MAX = 16 * KiB;

export function encodeGossip(gossip: Gossip): Uint8Array {
  const { incarnation, suspects, applied, catchUp, tallies, wallMs } = gossip;
  const progress =
    catchUp === undefined ? null : [catchUp.kind === "log", catchUp.slotsBehind, catchUp.bytesReceived];
  // Builds read the fields that they know: new ones are added at the end.
  return encode([
    GOSSIP_VERSION, incarnation, suspects, applied ?? null, progress, encodeTallies(tallies), wallMs ?? null,
  ]);
}

/** `undefined` for anything that is not a well-formed message of a version this node knows. */
export function parseGossip(payload: Uint8Array): Gossip | undefined {
  try {
    const fields = decodeUntrusted(payload, GOSSIP_BYTES_MAX);
    if (!Array.isArray(fields)) return undefined;
    const [version, incarnation, suspects, applied, catchUp, tallies, wallMs] = fields as readonly unknown[];
    if (version !== GOSSIP_VERSION || typeof incarnation !== "number" || !Array.isArray(suspects)) return undefined;
    if (!suspects.every((node) => typeof node === "string")) return undefined;
    return {
      incarnation,
      suspects: suspects.map(parseNodeId),
      applied: typeof applied === "number" ? applied : undefined,
      catchUp: parseCatchUp(catchUp),
      tallies: parseTallies(tallies),
      wallMs: typeof wallMs === "number" && Number.isFinite(wallMs) ? wallMs : undefined,
    };
  } catch (error) {
    // Bad input of a peer is refused and counted by the caller, never thrown.
    if (error instanceof AetherError) return undefined;
    throw error;
  }
}

function parseCatchUp(wire: unknown): GossipCatchUp | undefined {
  if (!Array.isArray(wire)) return undefined;
  const [isLog, slotsBehind, bytesReceived] = wire as readonly unknown[];
  if (typeof slotsBehind !== "number" || typeof bytesReceived !== "number") return undefined;
  return { kind: isLog === true ? "log" : "snapshot", slotsBehind, bytesReceived };
}

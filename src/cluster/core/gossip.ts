// Owns: the one message of the channel "cluster": what a node tells every peer four times a second.
import { decode, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { parseNodeId, type NodeId } from "../../base/ids.ts";
import { KiB } from "../../base/units.ts";

export interface Gossip {
  readonly incarnation: number;
  readonly suspects: readonly NodeId[];
}

const GOSSIP_VERSION = 1;
const GOSSIP_BYTES_MAX = 16 * KiB;

export function encodeGossip(gossip: Gossip): Uint8Array {
  return encode([GOSSIP_VERSION, gossip.incarnation, gossip.suspects]);
}

/** `undefined` for anything that is not a well-formed message of a version this node knows. */
export function parseGossip(payload: Uint8Array): Gossip | undefined {
  try {
    const fields = decode(payload, GOSSIP_BYTES_MAX);
    if (!Array.isArray(fields)) return undefined;
    const [version, incarnation, suspects] = fields as readonly unknown[];
    if (version !== GOSSIP_VERSION || typeof incarnation !== "number" || !Array.isArray(suspects)) return undefined;
    return { incarnation, suspects: suspects.map((node) => parseNodeId(String(node))) };
  } catch (error) {
    // Bad input of a peer is refused and counted by the caller, never thrown.
    if (error instanceof AetherError) return undefined;
    throw error;
  }
}

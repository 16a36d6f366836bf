// Owns: how many connections a process with few file descriptors takes. A node whose journal cannot open its next file
// stops: whoever connects must not be able to bring that about.
import { descriptorLimit } from "./machine-facts-adapter.ts";

/** Of the descriptors, for clients. */
export const CLIENTS_PERCENT = 50;
/** For other nodes. LevelDB keeps up to a fifth of all for its files; the rest is for everything else. */
export const PEERS_PERCENT = 12;

const PERCENT = { clients: CLIENTS_PERCENT, peers: PEERS_PERCENT } as const;

/** As many as wanted, or as this process has descriptors for. */
export function connectionsMax(of: keyof typeof PERCENT, wanted: number, descriptors = descriptorLimit()): number {
  if (descriptors === undefined) return wanted;
  return Math.max(1, Math.min(wanted, Math.floor((descriptors * PERCENT[of]) / 100)));
}

// Owns: what the cluster's quorum and its nodes' states mean to a person, in words and as a tone.

export type Tone = "good" | "warn" | "bad" | "idle" | "busy" | "doubt";

export interface Verdict {
  readonly tone: Tone;
  readonly text: string;
}

export interface QuorumCounts {
  readonly need: number;
  readonly have: number;
  readonly canLose: number;
}

/** What follows from the `have` voters that this node sees, of `voters`. */
export function quorumVerdict({ need, have, canLose }: QuorumCounts, voters: number): Verdict {
  if (have < need) return { tone: "bad", text: `needs ${need}: no writes` };
  if (voters === 1) return { tone: "idle", text: "a cluster of one" };
  if (canLose === 0) return { tone: "warn", text: "can lose none" };
  return { tone: have < voters ? "warn" : "good", text: `can lose ${canLose}` };
}

const NODE_TONES: Readonly<Record<string, Tone>> = {
  JOINING: "busy", SYNCING: "busy", "ON-DUTY": "good", ON_DUTY: "good", DRAINING: "busy", DRAINED: "idle", GONE: "bad",
  SUSPECTED: "warn",
};

export function nodeTone(status: string): Tone {
  return NODE_TONES[status.toUpperCase()] ?? "idle";
}

const INSTANCE_TONES: Readonly<Record<string, Tone>> = {
  ACTIVE: "good", FAILED: "bad", LOAD: "busy", LOADING: "busy", LOADED: "busy", ACTIVATE: "busy", ACTIVATING: "busy",
  DEACTIVATE: "idle", DEACTIVATING: "idle", UNLOAD: "idle", UNLOADING: "idle",
};

export function instanceTone(state: string): Tone {
  return INSTANCE_TONES[state.toUpperCase()] ?? "idle";
}

const JOB_TONES: Readonly<Record<string, Tone>> = {
  pending: "idle", running: "busy", waiting: "warn", completed: "good", failed: "bad", cancelled: "idle",
};

/** A job that waits for a person to find something out is in doubt, one that sleeps is not. */
export function jobTone(status: string, waitsFor?: string): Tone {
  if (status !== "waiting") return JOB_TONES[status] ?? "idle";
  if (waitsFor === "unknown" || waitsFor === "stuck") return "doubt";
  return waitsFor === "approval" || waitsFor === "budget" || waitsFor === "restored" ? "warn" : "idle";
}

// Owns: what this node knows of each endpoint's load: its own calls in flight there and how long they take.
import type { Endpoint } from "../../cluster/endpoint-lookup.ts";

export interface EndpointLoad {
  readonly inFlight: number;
  /** Smoothed and aged; undefined when nothing is known. */
  readonly latencyMs: number | undefined;
}

interface Entry {
  inFlight: number;
  latencyMs: number | undefined;
  measuredMs: number;
}

const IDLE: EndpointLoad = { inFlight: 0, latencyMs: undefined };
/** Weight of a new measurement. */
const SMOOTHING = 0.2;
/** A measurement loses half of its weight in this time, so that a slow endpoint is tried again. */
const HALF_LIFE_MS = 10_000;
/** Instances seen by one node; beyond it the idle ones are forgotten. */
const ENTRIES_MAX = 10_000;

export class EndpointLoads {
  private readonly entries = new Map<string, Entry>();

  loadOf(endpoint: Endpoint, nowMs: number): EndpointLoad {
    const entry = this.entries.get(endpointId(endpoint));
    if (entry === undefined) return IDLE;
    return { inFlight: entry.inFlight, latencyMs: agedLatency(entry, nowMs) };
  }

  begin(endpoint: Endpoint): void {
    const id = endpointId(endpoint);
    const entry = this.entries.get(id);
    if (entry !== undefined) {
      entry.inFlight += 1;
      return;
    }
    if (this.entries.size >= ENTRIES_MAX) this.forgetIdle();
    this.entries.set(id, { inFlight: 1, latencyMs: undefined, measuredMs: 0 });
  }

  /** `latencyMs` only of calls that were answered: a failure is quick and says nothing. */
  end(endpoint: Endpoint, nowMs: number, latencyMs: number | undefined): void {
    const entry = this.entries.get(endpointId(endpoint));
    if (entry === undefined) return;
    entry.inFlight -= 1;
    if (latencyMs === undefined) return;
    const before = agedLatency(entry, nowMs);
    entry.latencyMs = before === undefined ? latencyMs : before + (latencyMs - before) * SMOOTHING;
    entry.measuredMs = nowMs;
  }

  private forgetIdle(): void {
    for (const [id, entry] of this.entries) {
      if (entry.inFlight === 0) this.entries.delete(id);
    }
  }
}

/** An instance on a node; its methods share one load. */
export function endpointId(endpoint: Pick<Endpoint, "node" | "instance">): string {
  return `${endpoint.node}/${endpoint.instance}`;
}

function agedLatency(entry: Entry, nowMs: number): number | undefined {
  if (entry.latencyMs === undefined) return undefined;
  return entry.latencyMs * 0.5 ** ((nowMs - entry.measuredMs) / HALF_LIFE_MS);
}

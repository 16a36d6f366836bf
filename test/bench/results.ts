// Ports only: what a comparison found, as it is kept in a file.
import type { Machine } from "./machine.ts";
import type { KeysResult, MemoryResult } from "./sections/growth.ts";
import type { KillsResult } from "./sections/kills.ts";
import type { ThroughputResult } from "./sections/throughput.ts";
import type { VotersRow } from "./sections/voters.ts";

export interface Results {
  readonly machine: Machine;
  readonly throughput?: ThroughputResult;
  readonly kills?: readonly KillsResult[];
  readonly memory?: readonly MemoryResult[];
  readonly keys?: readonly KeysResult[];
  readonly voters?: readonly VotersRow[];
}

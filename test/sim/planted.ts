// Owns: the faults that prove the checkers: those inside the software under test, and those that only the harness can
// plant because they are about how its parts are put together.
import { PLANTED_FAULTS, type PlantedFault } from "../../src/consensus/observer.ts";

export type HarnessFault =
  | PlantedFault
  /** Reads answer from the node's own state without asking a quorum. */
  | "read-without-round";

export const ALL_PLANTED: readonly HarnessFault[] = [...PLANTED_FAULTS, "read-without-round"];

/** What the software under test is told. */
export function plantedInside(fault: HarnessFault | undefined): PlantedFault | undefined {
  return PLANTED_FAULTS.find((known) => known === fault);
}

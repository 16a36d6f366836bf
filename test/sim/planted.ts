// Owns: the faults that prove the checkers: those inside the software under test, and those that only the harness can
// plant because they are about how its parts are put together.
import { PLANTED_FAULTS, type PlantedFault } from "../../src/consensus/observer.ts";

export type HarnessFault =
  | PlantedFault
  /** Reads answer from the node's own state without asking a quorum. */
  | "read-without-round"
  /** A node does not tell the log which request a write is, so that a repetition is a new write. */
  | "requests-not-named"
  /** What sessions remember of their requests is lost at a restart, and in a snapshot. */
  | "requests-not-stored"
  /** A node ends leases by its own clock alone. */
  | "lease-by-own-clock"
  /** A watch that goes on at another node does so one revision too late, or too early. */
  | "watch-resumes-late"
  | "watch-resumes-early"
  /** A leader's writes do not compare that it still leads. */
  | "leader-unfenced"
  /** The same of the nodes' leader; and a node that takes the leadership whoever has it. */
  | "office-unfenced"
  | "office-taken-blindly"
  /** The files of the journal, see planted-disk.ts. */
  | "record-not-synced"
  | "name-not-synced"
  | "base-not-stored"
  | "last-record-believed";

export const ALL_PLANTED: readonly HarnessFault[] = [
  ...PLANTED_FAULTS,
  "read-without-round",
  "requests-not-named",
  "requests-not-stored",
  "lease-by-own-clock",
  "watch-resumes-late",
  "watch-resumes-early",
  "leader-unfenced",
  "office-unfenced",
  "office-taken-blindly",
  "record-not-synced",
  "name-not-synced",
  "base-not-stored",
  "last-record-believed",
];

/** What each does, for the table of docs/RELIABILITY.md. */
export const FAULT_TEXTS: Readonly<Record<HarnessFault, string>> = {
  "vote-before-fsync": "a vote is sent before it is on disk",
  "repropose-in-doubt": "a restarted node proposes where it may have proposed before",
  "h-not-persisted": "H is not part of the writes, so nothing is in doubt after a restart",
  "coin-decides": "the coin decides instead of setting the next state",
  "quorum-minus-one": "one node too few is a quorum",
  "tally-by-message": "a repeated message counts twice",
  "acknowledge-early": "decided on proposals alone",
  "dedupe-dropped": "a batch that is decided twice runs twice",
  "hurried-unsure": "in later phases `?` without a quorum of States",
  "coin-without-value": "the coin keeps the node's own proposal, not the value that was voted for",
  "count-without-batches": "a vote counts although its batches are not here",
  "no-help-after-deciding": "who is behind gets no answer",
  "incarnation-not-raised": "batches of two starts have the same ids",
  "quorum-of-connected": "more than half of the voters that are connected is a quorum",
  "read-index-from-decided": "read rounds ask for decided slots, not for those voted in",
  "apply-out-of-order": "slots decided together are applied last first",
  "snapshot-without-dedupe": "a stored state forgets which batches have run",
  "membership-at-once": "a changed voter list counts from its decision on",
  "removed-voter-votes": "a removed voter goes on voting under the list of before",
  "cut-before-checkpoint": "the journal is cut behind what is applied, not behind what is stored",
  "read-without-round": "reads answer without asking a quorum",
  "requests-not-named": "a write that is sent again under its request is a new write",
  "requests-not-stored": "what sessions remember of their requests is lost at a restart and in a snapshot",
  "lease-by-own-clock": "a node ends leases by its own clock alone",
  "watch-resumes-late": "a watch that goes on leaves one revision out",
  "watch-resumes-early": "a watch that goes on repeats one revision",
  "leader-unfenced": "the writes of a leader do not compare its epoch",
  "office-unfenced": "the same, of the nodes' leader",
  "office-taken-blindly": "a node takes the leadership without comparing whose it is",
  "record-not-synced": "a record of the journal is said to be on disk when it was handed over",
  "name-not-synced": "a new file of the journal is written while only memory has its name",
  "base-not-stored": "a cut of the journal removes files, and its base is not on disk",
  "last-record-believed": "a start does not write the last record again, which may never have reached the disk",
};

/** What the software under test is told. */
export function plantedInside(fault: HarnessFault | undefined): PlantedFault | undefined {
  return PLANTED_FAULTS.find((known) => known === fault);
}

// Owns: opening a voter from its disk: replay, checks, a new incarnation made durable before anything is said.
import { AetherError } from "../base/errors.ts";
import type { NodeUid } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { NewEntry } from "./core/journal-index.ts";
import type { Identity, JournalRecord } from "./core/journal-record.ts";
import { type Ballot, batchKeyOf, type BatchKey } from "./core/message.ts";
import { Replica } from "./core/replica.ts";
import type { GroupConfig, GroupPorts } from "./group-ports.ts";
import { Journal } from "./journal.ts";
import { Recovery } from "./recovery.ts";
import { ReplayPace } from "./replay-pace.ts";

export interface OpenedVoter {
  readonly journal: Journal;
  readonly replica: Replica;
  readonly identity: Identity;
  readonly incarnation: number;
  readonly recovered: { readonly ballots: readonly Ballot[]; readonly batches: readonly BatchKey[] };
}

/** @throws AetherError E_DATA_FOREIGN, E_DATA_CORRUPT, E_VERSION, E_DISK, E_UNAVAILABLE when it was cancelled */
export async function openVoter(ports: GroupPorts, config: GroupConfig): Promise<OpenedVoter> {
  const { journal, recovery, setAside } = await replay(ports, config);
  if (recovery.removed !== undefined) throw new AetherError("E_REMOVED", recovery.removed);
  const identity = recovery.identity ?? newIdentity(config, ports.random.fork("identity"));
  const windowSlots = identity.windowSlots;
  const isRaised = config.planted !== "incarnation-not-raised" || recovery.incarnation === 0;
  const incarnation = recovery.incarnation + (isRaised ? 1 : 0);
  const startId = randomText(ports.random.fork(`start/${incarnation}`), 12);
  const proposeBelow = Math.max(recovery.proposeBelow, windowSlots);
  const start: NewEntry[] = [{ kind: "start", incarnation, startId }];
  if (recovery.isInstalledLater) {
    start.push({ kind: "generation", generation: ports.stateMachine.loadedGeneration, slot: recovery.applied });
  }
  // The next start must not believe it either, should it look better then.
  if (setAside !== undefined && recovery.diverged === undefined) start.push({ kind: "diverged", reason: setAside });
  if (recovery.identity === undefined) start.unshift({ kind: "identity", identity });
  const entries = journal.toStored(start);
  const startWrite = await appendDurably(journal, { proposeBelow, promises: recovery.promises, entries });
  const { node, uid, share } = identity;
  const replica = new Replica(
    {
      firstVoters: identity.voters,
      windowSlots,
      pipelineSlots: Math.min(config.pipelineSlots, windowSlots),
      planted: config.planted,
      choices: config.choices,
    },
    {
      self: { node, uid, share, startId, startWrite, address: config.address, seed: ports.stateMachine.seedDigest },
      incarnation,
      admission: { voters: recovery.voters, seed: recovery.seed, isFormed: recovery.isFormed },
      applied: recovery.applied,
      log: recovery.log,
      logStart: journal.logStart,
      needsState: ports.stateMachine.needsSnapshot,
      proposeBelow,
      ballots: recovery.ballots,
      batches: recovery.batches,
      promises: recovery.promises,
    },
    ports.random.fork("replica"),
  );
  const recovered = { ballots: recovery.ballots, batches: recovery.batches.map((batch) => batchKeyOf(batch.id)) };
  return { journal, replica, identity, incarnation, recovered };
}

/** `found` is why the state was set aside a moment ago. */
async function replay(
  ports: GroupPorts,
  config: GroupConfig,
  found?: string,
): Promise<{ readonly journal: Journal; readonly recovery: Recovery; readonly setAside: string | undefined }> {
  const { stateMachine, log } = ports;
  const recovery = new Recovery(stateMachine, config);
  const pace = new ReplayPace(ports, ports.wal.last - ports.wal.first + 1);
  const take = (record: JournalRecord): void => recovery.take(record);
  const journal = await Journal.open(ports.wal, take, config.logLimits, () => pace.pause());
  pace.end(recovery.applied);
  const damage = stateMachine.damage ?? recovery.gap;
  if (damage !== undefined && recovery.isAlone) throw irreparable(damage);
  const reason = found ?? damage?.message ?? recovery.diverged;
  if (reason !== undefined && found === undefined) log.error({ event: "consensus.state_set_aside", reason });
  if (reason !== undefined && !stateMachine.needsSnapshot) {
    // What was just applied went into a state that is damaged, or that a quorum has contradicted.
    await stateMachine.setAside();
    return replay(ports, config, reason);
  }
  recovery.checkComplete(journal.decidedSlots);
  return { journal, recovery, setAside: reason };
}

function irreparable(damage: AetherError): AetherError {
  const advice = "no other voter has this state: restore a backup with `aether cluster restore`, into a new directory";
  return new AetherError("E_DATA_CORRUPT", `${damage.message}; ${advice}`, { cause: damage });
}

function appendDurably(journal: Journal, write: Parameters<Journal["append"]>[0]): Promise<number> {
  return new Promise((resolve, reject) => {
    journal.append(write, (number, failure) => {
      if (failure === undefined) resolve(number);
      else reject(diskFailure(failure));
    });
  });
}

function newIdentity(config: GroupConfig, random: Random): Identity {
  const { cluster, node, voters, windowSlots } = config;
  return { cluster, node, voters, windowSlots, uid: randomText(random, 16) as NodeUid, share: randomText(random, 32) };
}

function randomText(random: Random, length: number): string {
  const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz";
  return Array.from({ length }, () => alphabet[random.below(alphabet.length)]).join("");
}

/** Nothing may be concluded about a write that failed: the process must stop. */
export function diskFailure(failure: Error): AetherError {
  return new AetherError(
    "E_DISK",
    `writing the journal failed (${failure.message}): check the disk, then start the node again`,
    {
      cause: failure,
    },
  );
}

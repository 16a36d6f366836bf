// Owns: the bytes of consensus messages. A payload is one MessagePack array: the format version, then the messages of
// one turn as arrays that start with a tag. Decoding is total: bad input gives undefined, never a throw.
import { decodeUntrusted, encode } from "../../base/codec.ts";
import { AetherError } from "../../base/errors.ts";
import { type NodeUid, parseNodeId } from "../../base/ids.ts";
import { MiB } from "../../base/units.ts";
import type { FirstVoter } from "./effects.ts";
import {
  type Ballot,
  type BatchId,
  type Genesis,
  type Heard,
  type LogEntry,
  type Message,
  type Outcome,
  type Refusal,
  type Value,
  type VoteChoice,
  NULL_OUTCOME,
  UNSURE,
  valueOf,
} from "./message.ts";

export const MESSAGE_FORMAT = 1;
/** A log chunk of 1 MiB plus the largest slot, with headroom. */
const PAYLOAD_BYTES_MAX = 8 * MiB;

const TAG = {
  batch: 1,
  proposal: 2,
  vote: 3,
  state: 4,
  decision: 5,
  pullBatches: 6,
  pullSlots: 7,
  pullLog: 8,
  log: 9,
  status: 10,
  readIndex: 11,
  readIndexReply: 12,
  hello: 13,
  helloReply: 14,
} as const;

type Wire = readonly unknown[];

export function encodeMessages(messages: readonly Message[]): Uint8Array {
  const wire: unknown[] = [MESSAGE_FORMAT];
  for (const message of messages) wire.push(toWire(message));
  return encode(wire);
}

/** The messages of a payload, or undefined when it is not one: the caller counts and drops it. */
export function decodeMessages(payload: Uint8Array): readonly Message[] | undefined {
  try {
    const wire = decodeUntrusted(payload, PAYLOAD_BYTES_MAX);
    if (!Array.isArray(wire) || wire[0] !== MESSAGE_FORMAT) return undefined;
    const messages: Message[] = [];
    for (let i = 1; i < wire.length; i++) messages.push(fromWire(list(wire[i])));
    return messages;
  } catch {
    // ignored: whatever is wrong with a peer's bytes, the answer is the same refusal
    return undefined;
  }
}

function toWire(message: Message): Wire {
  switch (message.kind) {
    case "batch":
      return [TAG.batch, ...idParts(message.id), message.commands];
    case "proposal":
      return [TAG.proposal, message.slot, idsToWire(message.value)];
    case "ballot":
      return [...ballotToWire(message.ballot), message.writeNumber];
    case "decision":
      return [TAG.decision, message.slot, choiceToWire(message.outcome), ...heardToWire(message.heard)];
    case "pull-batches":
      return [TAG.pullBatches, message.ids.map(idParts)];
    case "pull-slots":
      return [TAG.pullSlots, message.slots];
    case "pull-log":
      return [TAG.pullLog, message.from];
    case "log":
      return [TAG.log, message.from, message.entries.map(logEntryToWire)];
    case "status":
      return [
        TAG.status,
        message.applied,
        message.decided,
        message.voted,
        message.doubtBelow,
        message.synced,
        message.logStart,
        message.hashes.map(({ slot, hash }) => [slot, hash]),
      ];
    case "read-index":
      return [TAG.readIndex, message.nonce];
    case "read-index-reply":
      return [TAG.readIndexReply, message.nonce, message.voted];
    case "hello": {
      const { uid, startId, startWrite, doubtBelow, share, listDigest, isFormed, wantsHello } = message;
      const { address, isJoining, supportedVersion, seed, genesis } = message;
      const start = [uid, startId, startWrite, doubtBelow, share, listDigest ?? null, isFormed, wantsHello];
      const origin = [seed ?? null, genesis === undefined ? null : genesisToWire(genesis)];
      return [TAG.hello, ...start, address, isJoining, supportedVersion, ...origin];
    }
    case "hello-reply": {
      const refusal = message.refusal;
      return [TAG.helloReply, message.startId, refusal === undefined ? null : refusalToWire(refusal)];
    }
  }
}

function fromWire(wire: Wire): Message {
  switch (wire[0]) {
    case TAG.batch:
      return { kind: "batch", id: idFrom(wire, 1), commands: bytes(wire[4]) };
    case TAG.proposal:
      return { kind: "proposal", slot: count(wire[1]), value: valueFromWire(wire[2]) };
    case TAG.vote:
    case TAG.state:
      return { kind: "ballot", ballot: ballotFromWire(wire), writeNumber: count(wire[4]) };
    case TAG.decision:
      return {
        kind: "decision",
        slot: count(wire[1]),
        outcome: outcomeFromWire(wire[2]),
        ...(wire[3] === undefined ? {} : { heard: list(wire[3]).map(heardFromWire) }),
      };
    case TAG.pullBatches:
      return { kind: "pull-batches", ids: list(wire[1]).map((id) => idFrom(list(id), 0)) };
    case TAG.pullSlots:
      return { kind: "pull-slots", slots: list(wire[1]).map(count) };
    case TAG.pullLog:
      return { kind: "pull-log", from: count(wire[1]) };
    case TAG.log:
      return {
        kind: "log",
        from: count(wire[1]),
        entries: list(wire[2]).map((entry) => logEntryFromWire(list(entry))),
      };
    case TAG.status:
      return {
        kind: "status",
        applied: count(wire[1]),
        decided: count(wire[2]),
        voted: count(wire[3]),
        doubtBelow: count(wire[4]),
        synced: count(wire[5]),
        logStart: count(wire[6]),
        hashes: list(wire[7]).map((pair) => ({ slot: count(list(pair)[0]), hash: count(list(pair)[1]) })),
      };
    case TAG.readIndex:
      return { kind: "read-index", nonce: count(wire[1]) };
    case TAG.readIndexReply:
      return { kind: "read-index-reply", nonce: count(wire[1]), voted: count(wire[2]) };
    case TAG.hello:
      return {
        kind: "hello",
        uid: text(wire[1]) as NodeUid,
        startId: text(wire[2]),
        startWrite: count(wire[3]),
        doubtBelow: count(wire[4]),
        share: text(wire[5]),
        listDigest: wire[6] === null ? undefined : text(wire[6]),
        isFormed: wire[7] === true,
        wantsHello: wire[8] === true,
        address: text(wire[9]),
        isJoining: wire[10] === true,
        supportedVersion: count(wire[11]),
        seed: wire[12] === null ? undefined : text(wire[12]),
        genesis: wire[13] === null ? undefined : genesisFromWire(list(wire[13])),
      };
    case TAG.helloReply:
      return { kind: "hello-reply", startId: text(wire[1]), refusal: refusalFromWire(wire[2]) };
    default:
      throw malformed("unknown tag");
  }
}

/** `[tag, slot, phase, choice]`, also the form of a ballot in the journal. */
export function ballotToWire(ballot: Ballot): Wire {
  const tag = ballot.kind === "vote" ? TAG.vote : TAG.state;
  return [tag, ballot.slot, ballot.phase, choiceToWire(ballot.choice)];
}

export function ballotFromWire(wire: Wire): Ballot {
  const slot = count(wire[1]);
  const phase = count(wire[2]);
  if (wire[0] === TAG.vote) return { kind: "vote", slot, phase, choice: choiceFromWire(wire[3]) };
  return { kind: "state", slot, phase, choice: outcomeFromWire(wire[3]) };
}

export function choiceToWire(choice: VoteChoice): unknown {
  if (choice === NULL_OUTCOME || choice === UNSURE) return choice;
  return idsToWire(choice);
}

function choiceFromWire(wire: unknown): VoteChoice {
  return wire === UNSURE ? UNSURE : outcomeFromWire(wire);
}

export function outcomeFromWire(wire: unknown): Outcome {
  return wire === NULL_OUTCOME ? NULL_OUTCOME : valueFromWire(wire);
}

function idsToWire(value: Value): Wire {
  const flat: unknown[] = [];
  for (const id of value.batches) flat.push(id.origin, id.incarnation, id.sequence);
  return flat;
}

function valueFromWire(wire: unknown): Value {
  const flat = list(wire);
  const ids: BatchId[] = [];
  for (let i = 0; i < flat.length; i += 3) ids.push(idFrom(flat, i));
  return valueOf(ids);
}

function logEntryToWire(entry: LogEntry): Wire {
  return [entry.slot, choiceToWire(entry.outcome), entry.contents.map((content) => content ?? null)];
}

function logEntryFromWire(wire: Wire): LogEntry {
  const contents = list(wire[2]).map((content) => (content === null ? undefined : bytes(content)));
  return { slot: count(wire[0]), outcome: outcomeFromWire(wire[1]), contents };
}

const REFUSAL_CODES: readonly Refusal["code"][] = ["E_DATA_LOST", "E_DATA_FOREIGN", "E_REMOVED", "E_VERSION"];

function refusalToWire({ code, message, isProof }: Refusal): Wire {
  return [code, message, isProof];
}

function refusalFromWire(wire: unknown): Refusal | undefined {
  if (wire === null) return undefined;
  const [code, message, isProof] = list(wire);
  const known = REFUSAL_CODES.find((candidate) => candidate === code) ?? "E_DATA_LOST";
  return { code: known, message: text(message), isProof: isProof === true };
}

export function firstVoterToWire({ node, uid, share, address }: FirstVoter): Wire {
  return [node, uid, share, address];
}

export function firstVoterFromWire(wire: Wire): FirstVoter {
  const [node, uid, share, address] = wire;
  return { node: parseNodeId(text(node)), uid: text(uid) as NodeUid, share: text(share), address: text(address) };
}

function genesisToWire({ windowSlots, seed, voters }: Genesis): Wire {
  return [windowSlots, seed ?? null, voters.map(firstVoterToWire)];
}

function genesisFromWire(wire: Wire): Genesis {
  const [windowSlots, seed, voters] = wire;
  return {
    windowSlots: count(windowSlots),
    seed: seed === null ? undefined : text(seed),
    voters: list(voters).map((voter) => firstVoterFromWire(list(voter))),
  };
}

export function idParts(id: BatchId): Wire {
  return [id.origin, id.incarnation, id.sequence];
}

export function idFrom(wire: Wire, at: number): BatchId {
  return { origin: text(wire[at]) as NodeUid, incarnation: count(wire[at + 1]), sequence: count(wire[at + 2]) };
}

function heardToWire(heard: readonly Heard[] | undefined): Wire {
  return heard === undefined ? [] : [heard.map(({ startId, writeNumber }) => [startId, writeNumber])];
}

function heardFromWire(wire: unknown): Heard {
  const [startId, writeNumber] = list(wire);
  return { startId: text(startId), writeNumber: count(writeNumber) };
}

function list(wire: unknown): Wire {
  if (!Array.isArray(wire)) throw malformed("not a list");
  return wire as Wire;
}

function count(wire: unknown): number {
  if (typeof wire !== "number" || !Number.isSafeInteger(wire) || wire < 0) throw malformed("not a count");
  return wire;
}

function text(wire: unknown): string {
  if (typeof wire !== "string" || wire.length > 1_024) throw malformed("not a text");
  return wire;
}

function bytes(wire: unknown): Uint8Array {
  if (!(wire instanceof Uint8Array)) throw malformed("not bytes");
  return wire;
}

/** Never seen by a caller: `decodeMessages` answers every one of them alike. */
function malformed(what: string): AetherError {
  return new AetherError("E_INVALID", `a consensus message is malformed: ${what}`);
}

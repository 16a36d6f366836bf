// Owns: the record that makes a store's rows a state: to which cluster they belong and up to where they go.
// It is written in the same atomic write as the rows it speaks of.
import { decode, encode } from "../../base/codec.ts";
import { crc32 } from "../../base/digest.ts";
import { AetherError } from "../../base/errors.ts";

/** Version of the layout of the whole store: this record, and the rows (stored-entry.ts). */
const STORE_FORMAT = 1;
const CHECKSUM_BYTES = 4;

/** Row of the record. No key begins with a control character, so it lies before all of them. */
export const CHECKPOINT_ROW: Uint8Array = Uint8Array.from([0]);
/** Where all other rows begin: first those of the system, then those of keys. */
export const FIRST_ROW: Uint8Array = Uint8Array.from([1]);

/** In place of the last slot, in a state that began with a backup and has applied nothing. */
export const NO_SLOT = -1;

export interface Checkpoint {
  readonly cluster: string;
  readonly revision: number;
  readonly stateHash: number;
  /** The last slot whose changes are in the rows, or NO_SLOT. */
  readonly slot: number;
  /** Opaque: where consensus stands after that slot. Empty with NO_SLOT. */
  readonly mark: Uint8Array;
  /** What the state machine keeps beside its entries; undefined in the records of its first version. */
  readonly machine: unknown;
  /** Digest of the backup that the state began with. */
  readonly seedDigest: string | undefined;
}

export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const { cluster, revision, stateHash, slot, mark, machine, seedDigest } = checkpoint;
  const body = encode([STORE_FORMAT, cluster, revision, stateHash, slot, mark, machine ?? null, seedDigest ?? null]);
  const checksum = Buffer.allocUnsafe(CHECKSUM_BYTES);
  checksum.writeUInt32LE(crc32(body));
  return Buffer.concat([body, checksum]);
}

/** @throws AetherError E_DATA_CORRUPT, E_VERSION for a store of another format. */
export function parseCheckpoint(row: Uint8Array): Checkpoint {
  const bytes = Buffer.from(row);
  const end = bytes.length - CHECKSUM_BYTES;
  if (end < 1 || crc32(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) {
    throw corrupt("its checkpoint record does not match its checksum");
  }
  const [format, cluster, revision, stateHash, slot, mark, machine, seedDigest] = listOf(
    decode(bytes.subarray(0, end), end),
  );
  if (format !== STORE_FORMAT) {
    const found = `the stored state has format ${String(format)}, this version reads ${STORE_FORMAT}`;
    throw new AetherError("E_VERSION", `${found}: use the version that wrote it, or a newer one`, {
      details: { found: format, known: STORE_FORMAT },
    });
  }
  if (typeof cluster !== "string" || !(mark instanceof Uint8Array)) {
    throw corrupt("its checkpoint record has wrong fields");
  }
  return {
    cluster,
    revision: count(revision),
    stateHash: count(stateHash),
    slot: slot === NO_SLOT ? slot : count(slot),
    mark,
    machine: machine ?? undefined,
    seedDigest: typeof seedDigest === "string" ? seedDigest : undefined,
  };
}

/** @throws AetherError E_DATA_FOREIGN for the state of another cluster. */
export function refuseForeign(checkpoint: Checkpoint, cluster: string): void {
  const found = checkpoint.cluster;
  if (found === cluster) return;
  const message = `the stored state is of cluster "${found}", this node of "${cluster}": use its own data directory`;
  throw new AetherError("E_DATA_FOREIGN", message, { details: { found, expected: cluster } });
}

function listOf(decoded: unknown): readonly unknown[] {
  if (Array.isArray(decoded)) return decoded;
  throw corrupt("its checkpoint record is not a list");
}

function count(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw corrupt(`its checkpoint record has ${String(value)} in place of a number`);
}

function corrupt(reason: string): AetherError {
  return new AetherError("E_DATA_CORRUPT", `cannot read the stored state: ${reason}; replace this node's data`);
}

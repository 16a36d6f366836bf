// Owns: ordered stores on disk, over LevelDB. Does not own: what is stored, nor whether it may be believed (records
// carry their own checksums: LevelDB skips damaged blocks of its log silently).
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Level } from "level";
import { AetherError, type AetherErrorOptions } from "../base/errors.ts";
import type { KeyRange, OrderedStore, StoreBatch, StoreEntry, StoreOp, StorePort } from "../env/store.ts";
import { makeDirectory, syncDirectory } from "./directory-adapter.ts";
import { failingDisk } from "./failing-disk.ts";
import { markClosed, markOpen } from "./readable-files-adapter.ts";
import { WriteQueue } from "./write-queue.ts";

type Database = Level<Uint8Array, Uint8Array>;
type ChainedBatch = ReturnType<Database["batch"]>;

const LARGE_BATCH_ROWS = 4_096;
/** No row has it: keys are UTF-8. */
const NO_KEY = Uint8Array.of(0xff);

/** Stores of one node: each is a LevelDB in its own folder of `directory`. */
export function createLevelStorePort(directory: string): StorePort {
  return {
    async open(name) {
      const location = join(directory, name);
      try {
        return new LevelStore(await openDatabase(location), location);
      } catch (error) {
        throw error instanceof AetherError ? error : openError(location, error);
      }
    },
    async list() {
      try {
        return await listStores(directory);
      } catch (error) {
        throw openError(directory, error);
      }
    },
    async destroy(name) {
      await removeStore(directory, name);
    },
  };
}

/** A store that is being removed has this after its name: half a store must never be taken for one. */
const REMOVED_SUFFIX = ".removed";

/** Finishes removals that were cut short. */
async function listStores(directory: string): Promise<readonly string[]> {
  await makeDirectory(directory);
  const folders = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const names = folders.map(({ name }) => name);
  const removed = names.filter((name) => name.endsWith(REMOVED_SUFFIX));
  for (const name of removed) await rm(join(directory, name), { recursive: true, force: true });
  return names.filter((name) => !removed.includes(name));
}

async function removeStore(directory: string, name: string): Promise<void> {
  const removed = join(directory, `${name}${REMOVED_SUFFIX}`);
  await rm(removed, { recursive: true, force: true });
  try {
    await rename(join(directory, name), removed);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    throw openError(join(directory, name), error);
  }
  await syncDirectory(directory);
  await rm(removed, { recursive: true, force: true });
}

async function openDatabase(location: string): Promise<Database> {
  await makeDirectory(location);
  refuseRemains(location, await readdir(location));
  await markOpen(location);
  const database: Database = new Level(location, { keyEncoding: "view", valueEncoding: "view" });
  await database.open();
  return database;
}

/** Without CURRENT, LevelDB takes the folder for a new one and deletes what it held. */
function refuseRemains(location: string, files: readonly string[]): void {
  if (files.includes("CURRENT")) return;
  const remains = files.filter((file) => REMAINS.test(file));
  if (remains.length === 0) return;
  const found = `it has ${remains.slice(0, 3).join(", ")}${remains.length > 3 ? ", …" : ""} but no CURRENT`;
  throw new AetherError("E_DATA_CORRUPT", `cannot read ${location}: ${found}; ${REPLACE}`, {
    details: { directory: location },
  });
}

// A first manifest alone is no remains: a creation that was cut short before anything could be written.
const REMAINS = /^(?:\d+\.(?:log|ldb|sst)|MANIFEST-(?!0*1$)\d+)$/;

class LevelStore implements OrderedStore {
  private readonly database: Database;
  private readonly location: string;
  private readonly queue: WriteQueue;

  constructor(database: Database, location: string) {
    this.database = database;
    this.location = location;
    this.queue = new WriteQueue((ops) => this.writeSynced(ops));
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    try {
      return this.database.getSync(key);
    } catch (error) {
      throw readError(this.location, error);
    }
  }

  write(ops: readonly StoreOp[], done: (failure?: Error) => void): void {
    this.queue.write(ops, done);
  }

  begin(): StoreBatch {
    const batch = this.database.batch();
    return {
      put: (key, value) => batch.put(key, value),
      delete: (key) => batch.del(key),
      write: (done) => this.queue.write(() => this.syncLarge(batch), done),
    };
  }

  entries(range: KeyRange): AsyncIterable<StoreEntry> {
    // LevelDB takes the iterator's snapshot when the iterator is made: here, not at the first `next`.
    const iterator = this.database.iterator({
      ...(range.from === undefined ? {} : { gte: range.from }),
      ...(range.to === undefined ? {} : { lt: range.to }),
      reverse: range.reverse ?? false,
    });
    return readAll(iterator, this.location);
  }

  async close(): Promise<void> {
    await this.queue.close();
    await this.database.close();
    await markClosed(this.location);
  }

  private async writeSynced(ops: readonly StoreOp[]): Promise<void> {
    // A chained batch copies each op into LevelDB at once; an array batch costs several times as much.
    const batch = this.database.batch();
    for (const op of ops) {
      if (op.kind === "put") batch.put(op.key, op.value);
      else batch.del(op.key);
    }
    await this.sync(batch);
  }

  /**
   * LevelDB takes a batch of any size into its memtable, and moves a full one to a file only when the next write comes.
   * Until then every read searches all of it, which made reads half as dear again with 131,072 rows, and it is kept.
   */
  private async syncLarge(batch: ChainedBatch): Promise<void> {
    const isLarge = batch.length > LARGE_BATCH_ROWS;
    await this.sync(batch);
    if (isLarge) await this.sync(this.database.batch().del(NO_KEY));
  }

  private async sync(batch: ChainedBatch): Promise<void> {
    try {
      await batch.write({ sync: true });
    } catch (error) {
      // What LevelDB found while it moved rows; every write fails from then on.
      throw codeOf(error) === "LEVEL_CORRUPTION" ? readError(this.location, error) : error;
    }
  }
}

async function* readAll(
  iterator: AsyncIterable<[Uint8Array, Uint8Array]>,
  location: string,
): AsyncGenerator<StoreEntry> {
  try {
    yield* iterator;
  } catch (error) {
    throw readError(location, error);
  }
}

function openError(location: string, error: unknown): AetherError {
  // LevelDB's own reason is the cause of the library's "Database failed to open".
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const options = { cause, details: { directory: location } };
  switch (codeOf(cause)) {
    case "LEVEL_LOCKED":
      return new AetherError(
        "E_DATA_LOCKED",
        `cannot open ${location}: another process has it open; stop that process or use another data directory`,
        options,
      );
    case "LEVEL_CORRUPTION":
      return damaged(location, cause, options);
    default:
      if (isOneOf(EXHAUSTED, cause)) return exhausted(location, cause, options);
      if (isOneOf(FAILING, cause)) return failingDisk(location, cause, options);
      // The folder is there by now: what LevelDB misses is a file that its own records name.
      if (MISSING_FILE.test(textOf(cause))) return damaged(location, cause, options);
      return new AetherError(
        "E_CONFIG",
        `cannot open ${location}: ${textOf(cause)}; check that the path is a directory this user may write`,
        options,
      );
  }
}

function damaged(location: string, cause: unknown, options: AetherErrorOptions): AetherError {
  return new AetherError("E_DATA_CORRUPT", `cannot read ${location}: ${textOf(cause)}; ${REPLACE}`, options);
}

function isOneOf({ codes, text }: Reasons, error: unknown): boolean {
  return codes.includes(String(codeOf(error))) || text.test(textOf(error));
}

function exhausted(location: string, cause: unknown, options: AetherErrorOptions): AetherError {
  const advice = "make room, or raise the limit of the process, and start the node again";
  return new AetherError("E_DISK", `cannot use ${location}: ${textOf(cause)}; ${advice}`, options);
}

function readError(location: string, error: unknown): AetherError {
  // What is missing there is no fault of the data: a state that is thought damaged is given up for another node's.
  const options = { cause: error, outcome: "none", details: { directory: location } } as const;
  if (isOneOf(EXHAUSTED, error)) return exhausted(location, error, options);
  if (isOneOf(FAILING, error)) return failingDisk(location, error, options);
  // Apart from those and from reads that come too late, whatever LevelDB cannot read is damaged.
  const code = CLOSED.includes(String(codeOf(error))) ? "E_UNAVAILABLE" : "E_DATA_CORRUPT";
  return new AetherError(code, `cannot read from ${location}: ${textOf(error)}`, options);
}

/** Node.js gives codes, LevelDB texts. */
interface Reasons {
  readonly codes: readonly string[];
  readonly text: RegExp;
}

const CLOSED: readonly string[] = ["LEVEL_DATABASE_NOT_OPEN", "LEVEL_ITERATOR_NOT_OPEN"];
const MISSING_FILE = /^IO error: .*: No such file or directory$/;
/** The machine, or this process, has no more of what files take. */
const EXHAUSTED: Reasons = {
  codes: ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM"],
  text: /: (?:No space left on device|Disk quota exceeded|Too many open files.*|Cannot allocate memory)$/,
};
/** The disk itself says no. */
const FAILING: Reasons = { codes: ["EIO"], text: /: Input\/output error$/ };
const REPLACE = "keep the directory for analysis and look at the disk";

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

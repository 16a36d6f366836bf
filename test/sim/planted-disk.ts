// Owns: planted faults of the journal's files: what the code above them would suffer from if they were made that way.
import type { LogPort } from "../../src/env/append-log.ts";
import type { StorePort } from "../../src/env/store.ts";
import type { LogFile, LogFiles } from "../../src/storage/log-files.ts";
import type { ProcessEnv } from "../../src/testkit/sim/machine.ts";
import { baseOf, createSimLogPort } from "../../src/testkit/sim/sim-log-files.ts";
import type { World } from "../../src/testkit/sim/world.ts";
import type { HarnessFault } from "./planted.ts";

/** The logs of a process, with the fault in their files if it is one of these. */
export function logsWith(fault: HarnessFault | undefined, { store, clock, logs }: ProcessEnv, world: World): LogPort {
  const ports = { stores: store, clock, settleSoon: () => world.settleSoon() };
  switch (fault) {
    case "record-not-synced":
      return createSimLogPort({ ...ports, wrap: withoutSync });
    case "last-record-believed":
      return createSimLogPort({ ...ports, wrap: believingLast });
    case "name-not-synced":
      return createSimLogPort({ ...ports, wrap: namingInMemory });
    case "base-not-stored":
      return createSimLogPort({ ...ports, stores: forgettingBases(store) });
    default:
      return logs;
  }
}

/** As if the files were opened without O_DSYNC. */
function withoutSync(files: LogFiles): LogFiles {
  return writing(files, (file, bytes, at, done) => {
    file.write(bytes, at, () => undefined);
    files.defer(() => done());
  });
}

/** As if a start did not write again what it has read last: nobody else writes what is there already. */
function believingLast(files: LogFiles): LogFiles {
  return writing(files, (file, bytes, at, done) => {
    const found = Buffer.alloc(bytes.byteLength);
    const isThere = file.readSync(found, at) === bytes.byteLength && found.equals(bytes);
    if (isThere) files.defer(() => done());
    else file.write(bytes, at, done);
  });
}

/** As if a folder were never synced: the new name of a file goes with the process, and a start finds the old one. */
function namingInMemory(files: LogFiles): LogFiles {
  const onDisk = new Map<string, string>();
  const find = (name: string): string => onDisk.get(name) ?? name;
  return {
    pathOf: (name) => files.pathOf(name),
    list: () => files.list(),
    read: (name) => files.read(find(name)),
    open: (name, mode) => files.open(find(name), mode),
    rename: (from, to) => {
      onDisk.set(to, from);
      return Promise.resolve();
    },
    remove: (name) => files.remove(find(name)),
    defer: (fire) => files.defer(fire),
  };
}

type Write = (file: LogFile, ...args: Parameters<LogFile["write"]>) => void;

/** Writes in another way to files that are complete. */
function writing(files: LogFiles, write: Write): LogFiles {
  const wrapped = (file: LogFile): LogFile => ({
    write: (...args) => write(file, ...args),
    readSync: (bytes, at) => file.readSync(bytes, at),
    close: () => file.close(),
  });
  return {
    pathOf: (name) => files.pathOf(name),
    list: () => files.list(),
    read: (name) => files.read(name),
    open: async (name, mode) => (mode === "new" ? files.open(name, mode) : wrapped(await files.open(name, mode))),
    rename: (from, to) => files.rename(from, to),
    remove: (name) => files.remove(name),
    defer: (fire) => files.defer(fire),
  };
}

/** As if a cut removed files before the base that says so is on the disk, and it never came there. */
function forgettingBases(stores: StorePort): StorePort {
  return {
    ...stores,
    open: async (name) => {
      const store = await stores.open(name);
      if (name !== baseOf("wal")) return store;
      return {
        getSync: (key) => store.getSync(key),
        entries: (range) => store.entries(range),
        begin: () => store.begin(),
        close: () => store.close(),
        write: (_ops, done) => store.write([], done),
      };
    },
  };
}

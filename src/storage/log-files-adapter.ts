// Owns: the files of a log on a real disk.
import { close as closeFd, constants, open as openFd, readSync as readFd, write as writeFd } from "node:fs";
import { readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { AetherError } from "../base/errors.ts";
import { syncDirectory } from "./directory-adapter.ts";
import { failingDisk } from "./failing-disk.ts";
import type { LogFile, LogFiles } from "./log-files.ts";

// Each write returns when it is on the disk: one trip to the thread pool instead of one to write and one to sync.
const FLAGS = constants.O_RDWR | constants.O_DSYNC;
const FLAGS_NEW = FLAGS | constants.O_CREAT | constants.O_TRUNC;

export function createLogFiles(directory: string): LogFiles {
  const pathOf = (name: string): string => join(directory, name);
  return {
    pathOf,
    list: async () => {
      // A process that was killed may have left names that only memory has.
      await syncDirectory(directory);
      return readdir(directory);
    },
    read: async (name) => {
      try {
        return await readFile(pathOf(name));
      } catch (error) {
        throw failingDisk(pathOf(name), error);
      }
    },
    open: (name, mode) => openFile(pathOf(name), mode === "new" ? FLAGS_NEW : FLAGS),
    rename: async (from, to) => {
      await rename(pathOf(from), pathOf(to));
      await syncDirectory(directory);
    },
    remove: (name) => rm(pathOf(name), { force: true }),
    defer: (fire) => void setImmediate(fire),
  };
}

function openFile(path: string, flags: number): Promise<LogFile> {
  return new Promise((resolve, reject) => {
    openFd(path, flags, (error, fd) => {
      if (error === null) resolve(new RealFile(path, fd));
      else reject(error);
    });
  });
}

class RealFile implements LogFile {
  private readonly path: string;
  private readonly fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
  }

  write(bytes: Buffer, at: number, done: (failure?: Error) => void): void {
    writeFd(this.fd, bytes, 0, bytes.byteLength, at, (error, written) => {
      if (error !== null) done(error);
      else if (written < bytes.byteLength) {
        done(new AetherError("E_DISK", `${this.path} took ${written} of ${bytes.byteLength} bytes: no space left`));
      } else done();
    });
  }

  readSync(bytes: Buffer, at: number): number {
    let done = 0;
    try {
      while (done < bytes.byteLength) {
        const count = readFd(this.fd, bytes, done, bytes.byteLength - done, at + done);
        if (count === 0) break;
        done += count;
      }
    } catch (error) {
      throw failingDisk(this.path, error);
    }
    return done;
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      closeFd(this.fd, (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  }
}

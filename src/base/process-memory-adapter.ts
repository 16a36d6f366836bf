// Owns: what memory the own process has, also while the system cannot say. It reads that from a file, so it fails
// where no file descriptor is left: a look at the process must not be what ends it.

/** Gives what was found last where it cannot be read now. */
export function createProcessMemory(): () => NodeJS.MemoryUsage {
  let last: NodeJS.MemoryUsage = { rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 };
  return () => {
    try {
      last = process.memoryUsage();
    } catch {
      // ignored: what it was a moment ago is near enough, until there are descriptors again
    }
    return last;
  };
}

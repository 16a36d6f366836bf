// Owns: folders that survive a power cut: an fsync of the folder above protects the name of one that was made.
import { mkdir, open as openFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** Makes a folder and those above it, durably. */
export async function makeDirectory(location: string): Promise<void> {
  const firstMade = await mkdir(location, { recursive: true });
  let made = resolve(location);
  await syncDirectory(dirname(made));
  while (firstMade !== undefined && made.length > resolve(firstMade).length) {
    made = dirname(made);
    await syncDirectory(dirname(made));
  }
}

/** What was made, renamed or removed in it is so after a power cut, too. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await openFile(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

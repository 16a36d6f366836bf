// Ports only: no code here. Where the logs of jobs go before they are taken away.
import type { JobId } from "../../base/ids.ts";
import type { JobUid } from "../core/ids.ts";

export interface JobArchive {
  /** Keeps the lines of an exported job; the same job again replaces them. Resolves when they survive a power cut. */
  keep(job: { readonly job: JobId; readonly uid: JobUid; readonly endedMs: number }, lines: AsyncIterable<string>):
  Promise<void>;
}

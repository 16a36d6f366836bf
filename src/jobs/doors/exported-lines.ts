// Owns: an exported job as lines, one of them in memory at a time, and checking them. The command line loads it
// when it is asked for it: a file is checked without any node.
import { AetherError } from "../../base/errors.ts";
import { EXPORT_BYTES_MAX, EXPORT_LINE_BYTES_MAX } from "../core/explain/export-line.ts";
import { JobCheck, type JobVerdict } from "../core/explain/job-check.ts";

const NEW_LINE = 0x0a;

/** @throws AetherError E_INVALID for what is no export of a job, E_VERSION for one of a later format */
export async function checkLines(lines: AsyncIterable<string>): Promise<JobVerdict> {
  const check = new JobCheck();
  for await (const line of lines) check.add(line);
  return check.finish();
}

/** @throws AetherError E_INVALID for what is larger than any export */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  let total = 0;
  for await (const chunk of chunks) {
    total += chunk.byteLength;
    if (total > EXPORT_BYTES_MAX) throw tooLarge(EXPORT_BYTES_MAX, "bytes");
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf(NEW_LINE); end !== -1; end = rest.indexOf(NEW_LINE)) {
      yield rest.toString("utf8", 0, end);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > EXPORT_LINE_BYTES_MAX) throw tooLarge(EXPORT_LINE_BYTES_MAX, "bytes in one line");
  }
  if (rest.length > 0) yield rest.toString("utf8");
}

function tooLarge(limit: number, what: string): AetherError {
  return new AetherError("E_INVALID", `this is no export of a job: it has more than ${limit} ${what}`, {
    details: { limit },
  });
}

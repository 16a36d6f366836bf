// Owns: /v1/jobs/:job/replay and move: a job and another version of its code.
import { z } from "zod";
import { parseJobId } from "../../base/ids.ts";
import type { Jobs } from "../../jobs/ports.ts";
import { ANYBODY } from "../caller.ts";
import { versionOf } from "../job-filter.ts";
import { jsonResponse } from "../json.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";

const versionSchema = z.strictObject({
  artifact: z.string().describe("A version of the package that the job runs, as group:name@version"),
});

export function jobCodeRoutes(jobs: Jobs): readonly Route[] {
  return [
    {
      method: "POST",
      path: "/v1/jobs/:job/replay",
      summary: "Runs the log of a job against another version of its package; calls and changes nothing",
      body: versionSchema,
      answer: "{ job, artifact, kind: same, seq, next } | { job, artifact, kind: diverged, seq, expected, found, " +
        "expectedDigest?, foundDigest? }",
      handle: async (request) => {
        const job = parseJobId(request.param("job"));
        const artifact = versionOf(parseInput(versionSchema, await request.readJson(), "the replay").artifact);
        const verdict = await jobs.replay(job, artifact, { signal: request.signal() });
        return jsonResponse(200, { job, artifact, ...verdict });
      },
    },
    {
      method: "POST",
      path: "/v1/jobs/:job/move",
      summary: "Lets a job that lives run another version of its package, if that does what its log says",
      body: versionSchema,
      answer: "{ job, artifact, kind: moved, isNew } | { job, artifact, kind: diverged, … } as of a replay: then " +
        "nothing has changed",
      handle: async (request) => {
        const job = parseJobId(request.param("job"));
        const artifact = versionOf(parseInput(versionSchema, await request.readJson(), "the move").artifact);
        const moved = await jobs.move(job, artifact, ANYBODY, { signal: request.signal() });
        return jsonResponse(200, { job, artifact, ...moved });
      },
    },
  ];
}

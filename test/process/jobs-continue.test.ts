// Slow. A job that continues as a new run fifty times on real nodes, of which the one that runs it is killed again and
// again: each run comes once, what each does outside is done once, and all runs are whole at the end.
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { ask, eventually, NodeFleet } from "../support/node-fleet.ts";
import { openWebServer } from "../support/web-server.ts";
import { applyAgents, resultOf, startJob } from "./support/fleet-jobs.ts";

const RUNS = 50;
/** The owner is killed in the middle of the call of each of these runs. */
const KILLED_IN = [5, 17, 29, 41];
const shownSchema = z.object({ owner: z.string().optional(), run: z.int(), epoch: z.int() });

let fleet: NodeFleet;

beforeAll(async () => {
  fleet = await NodeFleet.create();
  await fleet.startAll();
  await applyAgents(fleet, "polling");
});

afterAll(() => fleet.close());

interface Outside {
  readonly url: string;
  /** The runs that have noted something, in the order in which they did. */
  readonly runs: number[];
}

/** `onNote` is awaited before the answer: the call is under way meanwhile, and has happened. */
async function openOutside(onNote: (run: number) => Promise<void>): Promise<Outside> {
  const runs: number[] = [];
  const effects = new Set<string>();
  const server = await openWebServer((request, response) => {
    const [what = "", first = "", effect = ""] = (request.url ?? "/").slice(1).split("/");
    if (what === "noted") {
      response.statusCode = effects.has(first) ? 200 : 404;
      response.end("noted");
      return;
    }
    effects.add(effect);
    runs.push(Number(first));
    void onNote(Number(first)).finally(() => response.end("noted"));
  });
  onTestFinished(() => server.close());
  return { url: server.url, runs };
}

/** Through one node after the other: one may be down. */
async function shown(job: string): Promise<z.output<typeof shownSchema>> {
  let tries = 0;
  return await eventually("a node tells of the job", async () => {
    const via = fleet.names[tries++ % fleet.names.length] ?? "n1";
    const { status, body } = await ask(`${fleet.api(via)}/v1/jobs/${job}`);
    return status === 200 ? shownSchema.parse(body) : undefined;
  });
}

test("fifty runs, whoever dies: each comes once and is whole", async () => {
  const job = "poller";
  const killed: string[] = [];
  const outside = await openOutside(async (run) => {
    if (!KILLED_IN.includes(run)) return;
    const { owner = "nobody" } = await shown(job);
    killed.push(owner);
    await fleet.kill(owner);
    await fleet.start(owner);
  });
  const input = { url: outside.url, run: 1, runs: RUNS };
  await startJob(fleet, "n1", { agent: "polling", input, id: job });
  expect(await resultOf(fleet, "n1", job, 240_000)).toEqual({ kind: "completed", output: { runs: RUNS } });
  expect(outside.runs).toEqual(Array.from({ length: RUNS }, (_, index) => index + 1));
  expect(killed).toHaveLength(KILLED_IN.length);
  const { run, epoch } = await shown(job);
  expect(run).toBe(RUNS);
  expect(epoch).toBeGreaterThanOrEqual(RUNS + killed.length);
  expect((await fleet.command("n2", "job", "verify", job)).transcript()).toContain(`in ${RUNS} runs`);
  // The same start once more is this job, whatever its input is by now.
  expect(await startJob(fleet, "n2", { agent: "polling", input, id: job })).toEqual({ job, isNew: false });
});

// The commands of jobs as people run them: a child process of the compiled package against a real API server.
import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseJobId } from "../../../src/base/ids.ts";
import { PROGRAM } from "../../../src/base/package-files-adapter.ts";
import type { CallName } from "../../../src/jobs/core/ids.ts";
import type { ToolRow } from "../../../src/jobs/core/tools/tool-row.ts";
import { traceOf } from "../../../src/cli/job-trace.ts";
import { endedJob, linesOf } from "../../support/exported-job.ts";
import { askedBy, ownedBy } from "../../support/scripted-jobs.ts";
import { openApi, type ApiFixture } from "../api/api-fixture.ts";

const JOB = parseJobId("claim-17");
const EFFECT = sha256("effect");

let api: ApiFixture;

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  await api.close();
});

interface Ended {
  readonly exitCode: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `aether job …`; `onErr` hears what it reports, and may have it interrupted. */
function job(args: readonly string[], onErr: (err: string, interrupt: () => void) => void = () => undefined):
Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { PATH: process.env["PATH"], AETHER_API: api.url };
    const child = spawn(process.execPath, [PROGRAM, "job", ...args], { env });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
      onErr(err, () => child.kill("SIGINT"));
    });
    child.on("error", reject);
    child.on("close", (exitCode) => resolve({ exitCode, out, err }));
    child.stdin.end();
  });
}

function startJob(): Promise<Ended> {
  return job(["start", "claims", '{"order": "o-1"}', "--id", JOB]);
}

function unknownTool(): ToolRow {
  return {
    state: "unknown", effectId: EFFECT, call: "charge#1" as CallName, tool: "charge", effect: "once",
    canReconcile: false, epoch: 1, attempt: 1, inputDigest: sha256("input"), timeoutMs: 1_000, seq: 3,
    reason: "the node died",
  };
}

describe("start", () => {
  test("prints the id, and says when the job was there before", async () => {
    expect(await startJob()).toEqual({ exitCode: 0, out: `${JOB}\n`, err: "" });
    expect((await startJob()).out).toBe(`${JOB} (started before)\n`);
    const json = await job(["start", "claims", "--key", "k1", "--attribute", "region=eu", "--json"]);
    expect(JSON.parse(json.out)).toEqual({ job: "job-2", status: "pending", isNew: true });
    await job(["start", "claims", "--class", "heavy", "--priority", "-2", "--max-duration", "2 hours"]);
    expect(api.jobs.started).toEqual([
      { agent: "claims", input: { order: "o-1" }, id: JOB },
      { agent: "claims", input: null, attributes: { region: "eu" }, idempotencyKey: "k1" },
      { agent: "claims", input: null, queueClass: "heavy", priority: -2, maxDurationMs: 7_200_000 },
    ]);
  });

  test("waits, tells how the job goes on, and prints its output", async () => {
    const ended = await job(["start", "claims", "--id", JOB, "--wait"], (err) => {
      if (err.includes("is pending")) api.jobs.change(JOB, ownedBy("n2"));
      if (err.includes("is running on n2")) api.jobs.end(JOB, { kind: "completed", output: { paid: true } });
    });
    expect(ended).toEqual({
      exitCode: 0,
      out: '{\n  "paid": true\n}\n',
      err: `job ${JOB}\njob ${JOB} is pending\njob ${JOB} is running on n2\n`,
    });
  });

  test("fails as the job does", async () => {
    await startJob();
    api.jobs.end(JOB, { kind: "failed", error: { name: "Error", message: "no such order" } });
    const ended = await job(["wait", JOB]);
    expect(ended).toEqual({ exitCode: 1, out: "", err: `job ${JOB} failed: Error: no such order\n` });
    const json = await job(["wait", JOB, "--json"]);
    expect([json.exitCode, JSON.parse(json.out).result.kind]).toEqual([1, "failed"]);
  });

  test("leaves the job alone at Ctrl-C, and says so", async () => {
    const ended = await job(["start", "claims", "--id", JOB, "--wait"], (err, interrupt) => {
      if (err.endsWith("is pending\n")) interrupt();
    });
    expect([ended.exitCode, ended.out]).toEqual([1, ""]);
    expect(ended.err).toContain(`job ${JOB} goes on; aether job wait ${JOB} waits for it again\n`);
    expect(api.jobs.told).toEqual([]);
  });
});

describe("list, show, trace", () => {
  test("list says what jobs do or wait for", async () => {
    expect((await job(["list"])).out).toBe("no jobs\n");
    await startJob();
    api.jobs.change(JOB, { status: "waiting", waiting: { reason: "signal", on: ["signal:go"] } });
    const { out } = await job(["list"]);
    expect(out).toMatch(/^JOB +AGENT +CLASS +CREATED +STATUS\nclaim-17 +claims +default .*waiting: signal \(signal:go\)\n$/);
    expect((await job(["list", "--status", "running"])).out).toBe("no jobs\n");
  });

  test("show has the calls of tools", async () => {
    await startJob();
    api.jobs.addTool(JOB, unknownTool());
    const { out } = await job(["show", JOB]);
    expect(out).toContain('input      {"order":"o-1"}');
    expect(out).toMatch(/charge#1 +once +UNKNOWN +1 +[0-9a-f]{16} +the node died/);
  });

  test("trace is a timeline", async () => {
    await startJob();
    api.jobs.addEvents(JOB, [
      { type: "job.created", agent: "claims", pin: sha256("pin"), inputDigest: sha256("x") },
      { type: "step.completed", call: "load#1" as CallName, value: { cents: 5 } },
      { type: "tool.unknown", call: "charge#1" as CallName, effectId: EFFECT, reason: "the node died" },
    ]);
    expect((await job(["trace", JOB])).out.split("\n")).toEqual([
      "    1      +0.000 s  created, agent claims",
      '    2      +1.000 s  step load#1 = {"cents":5}',
      "    3      +2.000 s  tool charge#1 UNKNOWN: the node died",
      "",
    ]);
    expect((await job(["trace", JOB, "--json"])).out.trim().split("\n")).toHaveLength(3);
  });

  test("trace shows events that it does not know, and nothing of them commands the terminal", () => {
    const event = { run: 1, seq: 1, atMs: 5, epoch: 1, link: "", type: "future.event", data: { a: 1 } };
    const odd = { ...event, type: "job.created", data: { agent: "\u001b[31m" } };
    const texts = traceOf([event, odd]).map(({ text }) => text);
    expect(texts).toEqual(['future.event {"a":1}', "created, agent \uFFFD[31m"]);
  });
});

describe("cancel of many jobs", () => {
  test("says which it would be, and does it with --yes only", async () => {
    await startJob();
    const dry = await job(["cancel", "--status", "pending", "--dry-run"]);
    expect(dry.err).toBe("");
    expect(dry.out).toBe(`${JOB}\n1 jobs would be asked to end\n`);
    expect((await job(["cancel", "--status", "pending"])).exitCode).toBe(2);
    expect((await job(["cancel", JOB, "--status", "pending", "--yes"])).exitCode).toBe(2);
    expect((await job(["cancel"])).exitCode).toBe(2);
    expect(api.jobs.told).toEqual([]);
    const done = await job(["cancel", "--agent", "claims", "--yes", "--json"]);
    expect(JSON.parse(done.out)).toEqual({ told: 1, skipped: 0, jobs: [JOB], failed: [], dryRun: false });
    expect(api.jobs.told).toEqual([{ kind: "cancel", job: JOB }]);
  });
});

describe("retry, resolve and move of many jobs", () => {
  test("reach the jobs of their filters, and say what came of each", async () => {
    await startJob();
    api.jobs.addTool(JOB, unknownTool());
    const calls = ["--waiting", "unknown", "--tool", "charge", "--not-done"];
    api.jobs.change(JOB, { status: "waiting", waiting: { reason: "unknown", on: [] } });
    expect((await job(["resolve", ...calls, "--dry-run"])).out)
      .toBe(`${JOB}\n1 jobs would be told that their calls are not-done\n`);
    expect((await job(["resolve", ...calls, "--yes"])).exitCode).toBe(0);
    const moved = ["move", "--status", "waiting", "--artifact", "acme:claims@1.1.0", "--yes"];
    expect((await job(moved)).out).toBe(`${JOB}\n1 jobs are moved\n`);
    const diverged = await job(moved.map((flag) => flag.replace("1.1.0", "2.0.0")));
    expect(diverged.exitCode).toBe(1);
    expect(diverged.out).toContain(`${JOB}: E_NONDETERMINISM: `);
    api.jobs.end(JOB, { kind: "failed", error: { name: "Error", message: "no" } });
    const retried = await job(["retry", "--agent", "claims", "--current", "--limit", "5", "--yes"]);
    expect(retried.out).toBe(`${JOB} as again-1\n1 jobs are done again\n`);
    expect(api.jobs.told).toEqual([
      { kind: "resolve", job: JOB, effect: EFFECT, resolution: { kind: "not-done" } },
      { kind: "move", job: JOB, artifact: "acme:claims:1.1.0" },
      { kind: "repeat", job: JOB, repeat: { what: { kind: "retry" }, code: "current" } },
    ]);
  });

  test.each([
    ["an id and a filter", ["retry", JOB, "--agent", "claims", "--yes"]],
    ["neither", ["retry"]],
    ["a new id for many", ["retry", "--agent", "claims", "--id", "x", "--yes"]],
    ["no word of what is to be done", ["move", "--agent", "claims", "--artifact", "acme:claims@1.1.0"]],
    ["both words", ["cancel", "--agent", "claims", "--yes", "--dry-run"]],
    ["a page of one job", ["release", JOB, "--limit", "1"]],
    ["no call of one job", ["resolve", JOB, "--not-done"]],
    ["a tool of one job", ["resolve", JOB, "charge#1", "--tool", "charge", "--not-done"]],
    ["an unknown state", ["retry", "--status", "over", "--yes"]],
  ])("are refused with %s", async (_what, args) => {
    await startJob();
    expect((await job(args)).exitCode).toBe(2);
    expect(api.jobs.told).toEqual([]);
  });
});

describe("signal, cancel, resolve", () => {
  test("tell the job", async () => {
    await startJob();
    api.jobs.addTool(JOB, unknownTool());
    expect((await job(["signal", JOB, "go", "5", "--key", "k"])).out).toBe(`signal go is stored for job ${JOB}\n`);
    expect((await job(["cancel", JOB])).out).toBe(`job ${JOB} is asked to end\n`);
    expect((await job(["resolve", JOB, "charge#1", "--done", '{"id": 1}'])).exitCode).toBe(0);
    expect((await job(["resolve", JOB, EFFECT.slice(0, 6), "--not-done"])).exitCode).toBe(0);
    expect((await job(["resolve", JOB, "charge#1", "--fail", "closed"])).exitCode).toBe(0);
    const call = { kind: "resolve", job: JOB, effect: EFFECT };
    expect(api.jobs.told).toEqual([
      { kind: "signal", job: JOB, name: "go", payload: 5, key: "k" },
      { kind: "cancel", job: JOB },
      { ...call, resolution: { kind: "done", result: { id: 1 } } },
      { ...call, resolution: { kind: "not-done" } },
      { ...call, resolution: { kind: "given-up", reason: "closed" } },
    ]);
  });
});

describe("signal of many jobs", () => {
  test("says which jobs it would be, and stores it for those that have not ended", async () => {
    const agents = { "job-a": "claims", "job-b": "other", "job-c": "claims", "job-d": "claims" };
    for (const [id, agent] of Object.entries(agents)) await job(["start", agent, "1", "--id", id]);
    api.jobs.end(parseJobId("job-c"), { kind: "completed", output: 1 });
    const args = ["signal", "go", "5", "--agent", "claims", "--key", "k"];
    expect((await job([...args, "--dry-run"])).out)
      .toBe("job-a\njob-d\n2 jobs would have signal go stored for them, 1 are left as they are\n");
    expect(api.jobs.told).toEqual([]);
    const { out } = await job([...args, "--yes", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ told: 2, jobs: ["job-a", "job-d"] });
    expect(api.jobs.told).toEqual(["job-a", "job-d"].map((id) =>
      ({ kind: "signal", job: id, name: "go", payload: 5, key: "k" })));
  });

  test.each([
    ["neither --yes nor --dry-run", ["go", "--agent", "claims"], /nothing was done; give --dry-run/],
    ["an id and filters", [JOB, "go", "5", "--agent", "claims", "--yes"], /with filters say NAME and PAYLOAD only/],
    ["no name", ["--agent", "claims", "--yes"], /say which signal is meant/],
    ["neither an id nor filters", [], /say which job is meant/],
  ])("is refused with %s", async (_what, args, message) => {
    await startJob();
    const { exitCode, err } = await job(["signal", ...args]);
    expect([exitCode, api.jobs.told]).toEqual([2, []]);
    expect(err).toMatch(message);
  });
});

describe("release", () => {
  const held = { status: "waiting", waiting: { reason: "restored", on: [], why: "it comes from a backup" } } as const;

  test("lets one job go on, or all that are held, of an agent", async () => {
    const agents = { [JOB]: "claims", "job-b": "claims", "job-c": "other", "job-d": "claims" };
    for (const [id, agent] of Object.entries(agents)) await job(["start", agent, "1", "--id", id]);
    for (const id of [JOB, "job-b", "job-c"]) api.jobs.change(parseJobId(id), held);
    expect((await job(["show", JOB])).out).toContain("waiting: restored: it comes from a backup");
    expect((await job(["release", JOB])).out).toBe(`job ${JOB} goes on\n`);
    api.jobs.change(JOB, { status: "pending", waiting: { reason: "timer", on: [] } });
    expect((await job(["release", "--all", "--agent", "claims"])).out).toBe("job-b\n1 jobs go on\n");
    expect(api.jobs.told).toEqual([{ kind: "release", job: JOB }, { kind: "release", job: "job-b" }]);
    const none = await job(["release", "--all", "--agent", "none", "--json"]);
    expect(JSON.parse(none.out)).toMatchObject({ told: 0, jobs: [] });
  });
});

describe("retry, fork", () => {
  test("say what is done again, and print the id of the new job", async () => {
    await startJob();
    api.jobs.end(JOB, { kind: "failed", error: { name: "Error", message: "no" } });
    expect((await job(["retry", JOB])).out).toBe("again-1\n");
    const flags = ["--at", "load#1", "--input", "5", "--again", "a#1", "--again", "b#1", "--current", "--id", "fork-1"];
    expect((await job(["fork", JOB, ...flags])).out).toBe("fork-1\n");
    expect(api.jobs.told).toEqual([
      { kind: "repeat", job: JOB, repeat: { what: { kind: "retry" }, code: "same" } },
      {
        kind: "repeat", job: JOB,
        repeat: {
          what: { kind: "fork", at: "load#1", input: 5 }, code: "current", again: ["a#1", "b#1"], id: "fork-1",
        },
      },
    ]);
  });
});

describe("export, verify", () => {
  let directory: string;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "aether-job-commands-"));
    await endedJob(api.local.kv);
    api.jobs.exported.push(...(await linesOf(api.local.kv)).map((line) => `${line}\n`));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("a job is written to a new file and checked there, or in the cluster", async () => {
    await startJob();
    const file = join(directory, "job.jsonl");
    expect((await job(["export", JOB, "--out", file])).out).toMatch(/job.jsonl has job claim-17: whole, 15 events/);
    expect((await readFile(file, "utf8")).split("\n")).toHaveLength(api.jobs.exported.length + 1);
    for (const name of [file, JOB]) {
      expect(JSON.parse((await job(["verify", name, "--json"])).out)).toMatchObject({ events: 15, problems: [] });
    }
    expect(await job(["export", JOB, "--out", file])).toMatchObject({ exitCode: 1, err: expect.stringMatching(/E_CONFLICT/) });
  });

  test("what is not whole is named, and leaves a file; what is no export leaves none", async () => {
    await startJob();
    const at = api.jobs.exported.findIndex((line) => line.includes('"seq":4,'));
    api.jobs.exported.splice(at, 1);
    const file = join(directory, "job.jsonl");
    const ended = await job(["export", JOB, "--out", file]);
    expect([ended.exitCode, ended.out]).toEqual([1, expect.stringContaining("BROKEN from event 4 on")]);
    expect(ended.err).toContain("BROKEN from event 4 on: 1 events are missing from here");
    expect((await job(["verify", file])).exitCode).toBe(1);
    api.jobs.exported.pop();
    const cut = await job(["export", JOB, "--out", join(directory, "cut.jsonl")]);
    expect([cut.exitCode, cut.err]).toEqual([1, expect.stringMatching(/E_INVALID: .*cut off/)]);
    await writeFile(join(directory, "image.png"), Uint8Array.of(0x89, 0x50, 0x4e, 0x47));
    const image = await job(["verify", join(directory, "image.png")]);
    expect([image.exitCode, image.err]).toEqual([1, expect.stringMatching(/^E_INVALID: /)]);
    expect((await readdir(directory)).sort()).toEqual(["image.png", "job.jsonl"]);
  });
});

describe("approvals, approve, reject", () => {
  test("show what is asked with the command that answers, and answer it", async () => {
    await startJob();
    expect((await job(["approvals"])).out).toBe("nothing waits for a decision\n");
    api.jobs.addApproval(JOB, askedBy(JOB));
    api.jobs.addApproval(JOB, askedBy(JOB, "refund"));
    const asked = `${JOB} asks: Refund?\n  {"cents":5}\n  aether job approve ${JOB} manager#1\n`;
    const ofTool = `${JOB} asks: Refund?\n  refund {"cents":5}\n  aether job approve ${JOB} refund#1\n`;
    expect((await job(["approvals", JOB])).out).toBe(`${asked}\n${ofTool}`);
    expect((await job(["show", JOB])).out).toContain(`\n\n${asked}`);
    const approved = await job(["approve", JOB, "manager", "--data", '{"note": "fine"}']);
    expect(approved.out).toBe(`approved: manager#1 of job ${JOB}\n`);
    expect((await job(["reject", JOB, "refund", "--json"])).exitCode).toBe(0);
    const decision = { kind: "decision", job: JOB, principal: "anonymous" };
    expect(api.jobs.told).toEqual([
      { ...decision, call: "manager#1", approved: true, data: { note: "fine" } },
      { ...decision, call: "refund#1/approval#1", approved: false, data: null },
    ]);
  });
});

describe("what is wrong is said", () => {
  test.each<readonly [string, readonly string[], number, RegExp]>([
    ["an agent that nobody has", ["start", "nobody"], 1, /^E_NOT_FOUND: /],
    ["an agent that is no name", ["start", "a/b"], 1, /^E_INVALID: /],
    ["an input that is no JSON", ["start", "claims", "{"], 2, /^aether: INPUT is not JSON/],
    ["an attribute without value", ["start", "claims", "--attribute", "x"], 2, /NAME=VALUE/],
    ["another input under one id", ["start", "claims", "2", "--id", JOB], 1, /^E_CONFLICT: /],
    ["a status that is none", ["list", "--status", "done"], 2, /use one of pending/],
    ["too long a list", ["list", "--limit", "5000"], 2, /use 1 to 1000/],
    ["a job that is not there", ["show", "none"], 1, /^E_NOT_FOUND: /],
    ["a wait for one", ["wait", "none"], 1, /^E_NOT_FOUND: /],
    ["a trace of one", ["trace", "none"], 1, /^E_NOT_FOUND: /],
    ["a signal for one", ["signal", "none", "go"], 1, /^E_NOT_FOUND: /],
    ["a payload that is no JSON", ["signal", JOB, "go", "{"], 2, /^aether: PAYLOAD is not JSON/],
    ["a cancel of one", ["cancel", "none"], 1, /^E_NOT_FOUND: /],
    ["a call that is not there", ["resolve", JOB, "refund#1", "--not-done"], 1, /^E_NOT_FOUND: .*"refund#1"/],
    ["no resolution", ["resolve", JOB, "charge#1"], 2, /^aether: say one of --done/],
    ["two resolutions", ["resolve", JOB, "charge#1", "--not-done", "--fail", "x"], 2, /^aether: say one of --done/],
    ["a release of a job that is not held", ["release", JOB], 1, /^E_CONFLICT: /],
    ["a release of nothing", ["release"], 2, /^aether: say which job is meant/],
    ["a release of one and all", ["release", JOB, "--all"], 2, /^aether: say which job is meant/],
    ["a retry of a job that has not ended", ["retry", JOB], 1, /^E_CONFLICT: /],
    ["a fork from nowhere", ["fork", JOB], 2, /--at/],
    ["an export of a job that is not there", ["export", "none"], 1, /^E_NOT_FOUND: /],
    ["a check of one", ["verify", "none"], 1, /^E_NOT_FOUND: /],
    ["an approval that nobody asks", ["approve", JOB, "x"], 1, /^E_NOT_FOUND: /],
    ["data that are no JSON", ["reject", JOB, "x", "--data", "{"], 2, /^aether: --data is not JSON/],
    ["no command", [], 2, /Usage: aether job/],
  ])("%s", async (_what, args, exitCode, err) => {
    await startJob();
    const ended = await job(args);
    expect([ended.exitCode, ended.out]).toEqual([exitCode, ""]);
    expect(ended.err).toMatch(err);
    expect(api.jobs.told).toEqual([]);
  });
});

describe("stream", () => {
  test("shows how a job goes on until it has ended", async () => {
    await api.jobs.start({ agent: "claims", input: {}, id: JOB }, { principal: "ann", tenant: "t" });
    const streaming = job(["stream", JOB]);
    await vi.waitFor(() => expect(api.jobs.followed(JOB)).toBe(1), { timeout: 20_000 });
    api.jobs.change(JOB, ownedBy("n2"));
    api.jobs.emit(JOB, { done: 0.5 });
    api.jobs.emit(JOB, "half of it");
    api.jobs.end(JOB, { kind: "completed", output: { paid: true } });
    expect(await streaming).toEqual({
      exitCode: 0,
      out: 'pending\nrunning on n2\n{"done":0.5}\nhalf of it\ncompleted\ncompleted: {"paid":true}\n',
      err: "",
    });
  });

  test("gives events to scripts, and a job that is not there is an error", async () => {
    await api.jobs.start({ agent: "claims", input: {}, id: JOB }, { principal: "ann", tenant: "t" });
    api.jobs.end(JOB, { kind: "cancelled" });
    const { out } = await job(["stream", JOB, "--json"]);
    const events = out.trim().split("\n").map((line) => (JSON.parse(line) as { event: string }).event);
    expect(events).toEqual(["state", "end"]);
    expect(await job(["stream", "none"])).toMatchObject({ exitCode: 1, err: expect.stringContaining("E_NOT_FOUND") });
  });
});

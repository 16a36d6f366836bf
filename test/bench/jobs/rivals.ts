// Owns: the systems that jobs are measured beside: installing them into a directory of their own, and running them on
// loopback. They are no dependencies of this project; one that cannot be installed or started is said and left out.
import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { findTestPorts } from "../../support/test-ports.ts";
import { runClosedLoop, type LoopOptions, type LoopResult } from "../closed-loop.ts";
import { ended, firstLine, installRivals } from "../rival-programs.ts";
import { HttpClient } from "./http-client.ts";
import { expectSum, STEPS } from "./rates.ts";
import type { DbosTask } from "./rivals/dbos-workflows.ts";

const RESTATE_SERVER = `@restatedev/restate-server-linux-${process.arch}`;
export const VERSIONS: Readonly<Record<string, string>> = {
  "@restatedev/restate-sdk": "1.17.2",
  [RESTATE_SERVER]: "1.7.12",
  "@dbos-inc/dbos-sdk": "5.3.0",
};
/** Where Debian has the programs of its versions. */
const POSTGRES_DIRECTORY = "/usr/lib/postgresql";
const START_MS_MAX = 30_000;
const POLL_MS = 100;
const SUM = (STEPS * (STEPS + 1)) / 2;

/** JSON has no NaN, which a percentile of nothing is. */
const timeSchema = z.number().nullable().transform((ms) => ms ?? Number.NaN);
const isResults = (line: string): boolean => line.startsWith("[{") || line === "[]";
const resultsSchema: z.ZodType<readonly LoopResult[]> = z.array(z.object({
  clients: z.int(), perSecond: z.number(), p50Ms: timeSchema, p99Ms: timeSchema, failed: z.int(),
}));

/** A system with jobs of recorded steps. */
export interface Rival {
  readonly name: string;
  /** Closed loops of the job of ten steps, each result checked. */
  measure(loops: readonly LoopOptions[]): Promise<readonly LoopResult[]>;
}

export class Rivals {
  readonly started: readonly Rival[];
  private readonly directory: string;
  private readonly children: ChildProcess[];
  private readonly http: HttpClient;

  private constructor(
    parts: { readonly directory: string; readonly children: ChildProcess[]; readonly http: HttpClient },
    started: readonly Rival[],
  ) {
    this.directory = parts.directory;
    this.children = parts.children;
    this.http = parts.http;
    this.started = started;
  }

  /** `skip` hears of each that is not measured, and why. */
  static async start(skip: (name: string, reason: string) => void): Promise<Rivals> {
    const parts = { directory: mkdtempSync(join(tmpdir(), "aether-rivals-")), children: [], http: new HttpClient() };
    chmodSync(parts.directory, 0o755);
    const started: Rival[] = [];
    try {
      const sources = ["restate-service", "dbos-workflows"].map((name) =>
        new URL(`./rivals/${name}.ts`, import.meta.url));
      await installRivals(parts.directory, VERSIONS, sources);
      const port = await findTestPorts(5);
      const openers = { Restate: startRestate, DBOS: startDbos };
      for (const [name, open] of Object.entries(openers)) {
        await open(parts, port).then((rival) => started.push(rival), (error: unknown) => skip(name, String(error)));
      }
    } catch (error) {
      skip("Restate and DBOS", String(error));
    }
    return new Rivals(parts, started);
  }

  async close(): Promise<void> {
    this.http.close();
    for (const child of [...this.children].reverse()) {
      child.kill("SIGKILL");
      await ended(child);
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

interface Parts {
  readonly directory: string;
  readonly children: ChildProcess[];
  readonly http: HttpClient;
}

/** One server without replication, with its files in the directory, and its service in a process of its own. */
async function startRestate({ directory, children, http }: Parts, port: number): Promise<Rival> {
  const [ingress, admin, node, service] = [port, port + 1, port + 2, port + 3].map((each) => `127.0.0.1:${each}`);
  const program = spawn(process.execPath, [join(directory, "restate-service.mjs"), String(port + 3)], {
    cwd: directory, stdio: ["pipe", "pipe", "ignore"], env: { ...process.env, RESTATE_LOGGING: "ERROR" },
  });
  children.push(program);
  await firstLine(program, (line) => line === "ready");
  const file = join(directory, "node_modules", RESTATE_SERVER, "bin", "restate-server");
  children.push(spawn(file, ["--no-logo", "--base-dir", join(directory, "restate")], {
    cwd: directory, stdio: "ignore", env: {
      RESTATE_INGRESS__BIND_ADDRESS: ingress, RESTATE_ADMIN__BIND_ADDRESS: admin, RESTATE_BIND_ADDRESS: node,
      RESTATE_LISTEN_MODE: "tcp", RESTATE_DISABLE_TELEMETRY: "true",
    },
  }));
  await eventually("Restate to serve", () => http.send("POST", `http://${admin}/deployments`, { uri: `http://${service}` }));
  const call = async (): Promise<void> =>
    expectSum(await http.send("POST", `http://${ingress}/steps/run`, { steps: STEPS }), SUM);
  await eventually("Restate to run", call);
  return {
    name: "Restate",
    measure: async (loops) => {
      const results: LoopResult[] = [];
      for (const loop of loops) results.push(await runClosedLoop(loop, call));
      return results;
    },
  };
}

/** PostgreSQL with its defaults, so with fsync; workflows are started within the process that runs them. */
async function startDbos({ directory, children }: Parts, port: number): Promise<Rival> {
  const bin = postgresPrograms();
  const data = join(directory, "postgres");
  const as = postgresUser();
  mkdirSync(data);
  if (as.uid !== undefined && as.gid !== undefined) chownSync(data, as.uid, as.gid);
  execFileSync(join(bin, "initdb"), ["-D", data, "-A", "trust", "-U", "bench"], { ...as, cwd: data, stdio: "ignore" });
  const place = [`-p${port + 4}`, "-c", "listen_addresses=127.0.0.1", "-c", `unix_socket_directories=${data}`];
  children.push(spawn(join(bin, "postgres"), ["-D", data, ...place], { ...as, cwd: data, stdio: "ignore" }));
  const task = { database: `postgres://bench@127.0.0.1:${port + 4}/bench`, steps: STEPS };
  const run = async (loops: readonly LoopOptions[]): Promise<readonly LoopResult[]> => {
    const argument = JSON.stringify({ ...task, loops } satisfies DbosTask);
    const program = spawn(process.execPath, [join(directory, "dbos-workflows.mjs"), argument], {
      cwd: directory, stdio: ["ignore", "pipe", "ignore"],
    });
    children.push(program);
    try {
      return resultsSchema.parse(JSON.parse(await firstLine(program, isResults)));
    } finally {
      program.kill("SIGKILL");
      await ended(program);
    }
  };
  await eventually("DBOS to run", () => run([]));
  return { name: "DBOS", measure: run };
}

function postgresPrograms(): string {
  const versions = existsSync(POSTGRES_DIRECTORY) ? readdirSync(POSTGRES_DIRECTORY) : [];
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0];
  if (newest === undefined) throw new RangeError(`no PostgreSQL in ${POSTGRES_DIRECTORY}: install its Debian package`);
  return join(POSTGRES_DIRECTORY, newest, "bin");
}

/** PostgreSQL refuses to run as root. */
function postgresUser(): Pick<SpawnOptions, "uid" | "gid"> {
  if (process.getuid?.() !== 0) return {};
  const line = readFileSync("/etc/passwd", "utf8").split("\n").find((each) => each.startsWith("postgres:"));
  if (line === undefined) throw new RangeError("there is no user postgres, as whom PostgreSQL could run");
  const [, , uid, gid] = line.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

async function eventually(what: string, attempt: () => Promise<unknown>): Promise<void> {
  const untilMs = Date.now() + START_MS_MAX;
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (Date.now() > untilMs) throw new RangeError(`waited too long for ${what}: ${String(error)}`, { cause: error });
      await sleep(POLL_MS);
    }
  }
}

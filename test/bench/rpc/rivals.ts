// Owns: the systems that Aether is measured beside: installing them into a directory of their own, and running them.
// They are no dependencies of this project, and nothing of it depends on their being there.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { LoopOptions, LoopResult } from "../closed-loop.ts";
import type { RivalTask } from "./rivals/loops.ts";

export const VERSIONS = { moleculer: "0.14.36", piscina: "5.3.2" } as const;

const PROGRAMS = ["moleculer-host", "moleculer-caller", "piscina-caller", "piscina-worker"] as const;
type Program = (typeof PROGRAMS)[number];

export interface PiscinaResults {
  /** The worker takes one task at a time. */
  readonly alone: readonly LoopResult[];
  /** It takes all that are called at once. */
  readonly together: readonly LoopResult[];
}

export class Rivals {
  private readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Installs them with npm, from its registry or its cache, running no scripts of theirs. */
  static async install(): Promise<Rivals> {
    const directory = mkdtempSync(join(tmpdir(), "aether-rivals-"));
    const rivals = new Rivals(directory);
    try {
      writeFileSync(join(directory, "package.json"), JSON.stringify({ private: true, dependencies: VERSIONS }));
      const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
      execFileSync("npm", args, { cwd: directory, stdio: ["ignore", "ignore", "inherit"] });
      await build({
        entryPoints: PROGRAMS.map((name) => fileURLToPath(new URL(`./rivals/${name}.ts`, import.meta.url))),
        outdir: directory,
        outExtension: { ".js": ".mjs" },
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node20",
        logLevel: "error",
      });
      return rivals;
    } catch (error) {
      rivals.close();
      throw error;
    }
  }

  /** Calls from one process to another. */
  async callOverTcp(text: string, loops: readonly LoopOptions[], firstPort: number): Promise<readonly LoopResult[]> {
    const urls = [`127.0.0.1:${firstPort}/host`, `127.0.0.1:${firstPort + 1}/caller`];
    const host = this.start("moleculer-host", { text, loops, urls });
    try {
      await firstLine(host);
      const caller = this.start("moleculer-caller", { text, loops, urls });
      return JSON.parse(await firstLine(caller)) as readonly LoopResult[];
    } finally {
      host.kill("SIGKILL");
      await ended(host);
    }
  }

  /** Calls from a main thread into a worker thread. */
  async callWorker(text: string, loops: readonly LoopOptions[]): Promise<PiscinaResults> {
    const caller = this.start("piscina-caller", { text, loops, urls: [] });
    return JSON.parse(await firstLine(caller)) as PiscinaResults;
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  private start(program: Program, task: RivalTask): ChildProcess {
    const file = join(this.directory, `${program}.mjs`);
    const stdio = ["pipe", "pipe", "inherit"] as const;
    return spawn(process.execPath, [file, JSON.stringify(task)], { cwd: this.directory, stdio: [...stdio] });
  }
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new RangeError("a rival has no output");
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new RangeError(`a rival ended with ${String(child.exitCode)} and without a result`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

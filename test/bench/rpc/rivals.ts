// Owns: the systems that Aether is measured beside: installing them into a directory of their own, and running them.
// They are no dependencies of this project, and nothing of it depends on their being there.
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LoopOptions, LoopResult } from "../closed-loop.ts";
import { ended, firstLine, installRivals } from "../rival-programs.ts";
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
      await installRivals(directory, VERSIONS, PROGRAMS.map((name) => new URL(`./rivals/${name}.ts`, import.meta.url)));
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

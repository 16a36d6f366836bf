// Owns: one node as a child process of the command line: its lines, its readiness, its end.
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { PROGRAM } from "../base/package-files-adapter.ts";

export interface NodeProcessHandlers {
  onLine(line: string): void;
  /** The node has printed its ready line. */
  onReady(): void;
  /** Once, after the last line. */
  onExit(how: string): void;
}

/** Settings of glibc's allocator that spare a node some 70 MiB (docs/operations/running-a-node.md, "Memory"). */
export const ALLOCATOR_VARIABLES = { MALLOC_ARENA_MAX: "1", MALLOC_MMAP_THRESHOLD_: "262144" } as const;
const READY_LINE = /^aether node \S+ ready api=/;

export class NodeProcess {
  readonly name: string;
  private readonly child: ChildProcess;

  constructor(name: string, configFile: string, handlers: NodeProcessHandlers) {
    this.name = name;
    this.child = spawn(process.execPath, [PROGRAM, "node", "start", "--config", configFile], {
      // A group of its own: Ctrl-C in the terminal reaches us alone, and we end the nodes in order.
      detached: true,
      // The channel carries nothing: a node ends when it breaks, so that none outlives whoever started it.
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...ALLOCATOR_VARIABLES, ...environmentWithoutNodeSettings() },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) readLines(stream, handlers);
    this.child.on("error", (error) => handlers.onExit(error.message));
    this.child.on("close", (code, signal) => handlers.onExit(signal === null ? `exit code ${code ?? 0}` : signal));
  }

  /** `drain` lets it finish its calls; `kill` ends it at once. */
  stop(how: "drain" | "kill"): void {
    this.child.kill(how === "drain" ? "SIGTERM" : "SIGKILL");
  }
}

function readLines(stream: Readable | null, handlers: NodeProcessHandlers): void {
  if (stream === null) return;
  createInterface({ input: stream, crlfDelay: Infinity }).on("line", (line) => {
    handlers.onLine(line);
    if (READY_LINE.test(line)) handlers.onReady();
  });
}

// Variables that configure one node would make all of them the same.
function environmentWithoutNodeSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("AETHER_")));
}

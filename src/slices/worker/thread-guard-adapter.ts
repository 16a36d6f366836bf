// Owns: keeping a slice from harming its node by accident through what every thread has: the port to the node, the
// standard output, signals to its own process, processes that would outlive it. A slice that means harm finds ways
// around this: threads contain faults, not attackers.
import { ChildProcess } from "node:child_process";
import type { MessagePort } from "node:worker_threads";
import { AetherError } from "../../base/errors.ts";
import { KiB } from "../../base/units.ts";
import type { GuardedThread } from "./worker-runtime.ts";

/** Of one write to the output; the rest of a longer one is left out. */
export const OUTPUT_LENGTH_MAX = 64 * KiB;

const NEWLINE = 10;
const SIGNAL_REFUSED = "a slice cannot send a signal to the process of its node; to end the instance use process.exit";

/** To be called once the runtime has its own way to post. */
export function guardThread(port: MessagePort, guarded: GuardedThread): void {
  guardPort(port, guarded);
  guardSignals();
  guardChildren(guarded);
  guardOutput(process.stdout, guarded);
  guardOutput(process.stderr, guarded);
}

/** What arrives at the node is unpacked there at once, however much it is: so nothing leaves that is not ours. */
function guardPort(port: MessagePort, { warn }: GuardedThread): void {
  let isTold = false;
  const drop = (): void => {
    if (isTold) return;
    isTold = true;
    warn("what this slice posts on parentPort goes nowhere; use ctx.uses, ctx.log or the answer of a handler");
  };
  Object.defineProperty(port, "postMessage", { value: drop });
}

/** A thread shares its process with the node: libraries that end "their" process would end it. */
function guardSignals(): void {
  const kill = process.kill.bind(process);
  process.kill = (pid, signal) => {
    const isOurs = pid === process.pid || pid <= 0;
    if (isOurs && signal !== 0) throw new AetherError("E_INVALID", SIGNAL_REFUSED, { outcome: "not-applied" });
    return kill(pid, signal);
  };
}

type Spawn = (this: ChildProcess, options: { readonly detached?: boolean }) => unknown;

/** A thread that is terminated leaves its processes behind: so the node hears of each, but of detached ones. */
function guardChildren({ noteChild }: GuardedThread): void {
  // What all ways to start a process come to, but those that stand still until it has ended.
  const spawn = Reflect.get(ChildProcess.prototype, "spawn") as Spawn;
  const guarded: Spawn = function (options) {
    const result = spawn.call(this, options);
    const { pid } = this;
    if (pid !== undefined && options.detached !== true) {
      noteChild(pid, "started");
      this.once("exit", () => noteChild(pid, "ended"));
    }
    return result;
  };
  Reflect.set(ChildProcess.prototype, "spawn", guarded);
}

type Write = (chunk: string | Uint8Array, ...rest: readonly unknown[]) => boolean;

/** Lines beyond the budget are left out here: at the node they would cost its time, and in a queue its memory. */
function guardOutput(stream: NodeJS.WriteStream, { takeLines, noteLeftOut }: GuardedThread): void {
  const write = stream.write.bind(stream) as Write;
  const guarded: Write = (chunk, ...rest) => {
    const text = chunk.slice(0, OUTPUT_LENGTH_MAX);
    if (takeLines(countLines(text))) {
      if (text.length < chunk.length) noteLeftOut(1);
      return write(text, ...rest);
    }
    const done = rest.at(-1);
    if (typeof done === "function") process.nextTick(done);
    return true;
  };
  stream.write = guarded;
}

function countLines(text: string | Uint8Array): number {
  let lines = 0;
  for (let at = newlineAfter(text, 0); at >= 0; at = newlineAfter(text, at + 1)) lines += 1;
  return Math.max(1, lines);
}

function newlineAfter(text: string | Uint8Array, from: number): number {
  return typeof text === "string" ? text.indexOf("\n", from) : text.indexOf(NEWLINE, from);
}

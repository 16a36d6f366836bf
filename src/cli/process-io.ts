// Owns: the real process of the command line: streams, signals, time.
import { text } from "node:stream/consumers";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { CliIo } from "./cli-io.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export function createProcessIo(): CliIo {
  // The reader of a pipe that has seen enough is no error: `aether kv list | head`.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  }
  return {
    env: process.env,
    cwd: process.cwd(),
    print: (line) => void process.stdout.write(`${line}\n`),
    report: (line) => void process.stderr.write(`${line}\n`),
    readInput: () => text(process.stdin),
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    sleep: (durationMs, signal) => sleepFor(durationMs, undefined, signal === undefined ? {} : { signal }),
    onInterrupt: (listener) => {
      for (const signal of SIGNALS) process.on(signal, listener);
      return () => {
        for (const signal of SIGNALS) process.off(signal, listener);
      };
    },
    exitNow: (code) => process.exit(code),
  };
}

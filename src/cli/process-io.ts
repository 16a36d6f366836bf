// Owns: the real process of the command line: streams, signals, time.
import { text } from "node:stream/consumers";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { CliIo, Terminal } from "./cli-io.ts";

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
    ...(process.stdin.isTTY && process.stdout.isTTY && { terminal: createTerminal() }),
  };
}

const COLUMNS_DEFAULT = 80;
const ROWS_DEFAULT = 24;

function createTerminal(): Terminal {
  const { stdin, stdout } = process;
  return {
    // A terminal that does not say has 0.
    size: () => ({ columns: stdout.columns || COLUMNS_DEFAULT, rows: stdout.rows || ROWS_DEFAULT }),
    write: (text) => void stdout.write(text),
    open: (onKey, onResize) => {
      const onData = (data: Buffer): void => {
        for (const key of data.toString("utf8")) onKey(key);
      };
      stdin.setRawMode(true);
      stdin.on("data", onData);
      stdout.on("resize", onResize);
      return () => {
        stdout.off("resize", onResize);
        stdin.off("data", onData);
        stdin.setRawMode(false);
        stdin.pause();
      };
    },
  };
}

// Owns: the live view of `aether top`: one screen per second, keys, and a terminal that is left as it was found.
import { toAetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { CliIo, Terminal } from "../cli-io.ts";
import type { HttpApi } from "../http-api.ts";
import { untilInterrupt } from "../interrupt.ts";
import { type Order, screenLines, topSchema, type TopSnapshot } from "./screen.ts";

const OTHER_SCREEN = "\u001b[?1049h\u001b[?25l";
const OWN_SCREEN = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const REST_OF_LINE = "\u001b[K";
const REST_OF_SCREEN = "\u001b[J";
const CTRL_C = "\u0003";

const KEYS: Readonly<Record<string, Order>> = { c: "calls", e: "errors", p: "p99", n: "name" };
const FOOT = "c calls  e errors  p p99  n name  q quit";

/** Until `q` or Ctrl-C, or until nobody reads any more. */
export async function showLive(io: CliIo, terminal: Terminal, api: HttpApi): Promise<void> {
  await untilInterrupt(io, async (interrupted) => {
    const quit = new AbortController();
    const signal = AbortSignal.any([interrupted, quit.signal]);
    const view = new LiveView(terminal);
    const release = terminal.open((key) => {
      if (key === "q" || key === CTRL_C) quit.abort();
      else view.press(key);
    }, () => view.draw());
    terminal.write(OTHER_SCREEN);
    try {
      while (!signal.aborted) {
        await view.refresh(api, signal);
        // ignored: the wait ends when the view does
        await io.sleep(SECOND_MS, signal).catch(() => undefined);
      }
    } finally {
      terminal.write(OWN_SCREEN);
      release();
    }
  });
}

class LiveView {
  private readonly terminal: Terminal;
  private order: Order = "calls";
  private snapshot: TopSnapshot | undefined;
  private trouble = "no snapshot yet";

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  press(key: string): void {
    this.order = KEYS[key] ?? this.order;
    this.draw();
  }

  /** A node that is away for a moment ends nothing. */
  async refresh(api: HttpApi, signal: AbortSignal): Promise<void> {
    try {
      const { snapshot } = await api.get(topSchema, "/v1/metrics", { signal });
      this.snapshot = snapshot ?? this.snapshot;
      this.trouble = snapshot === null ? "no snapshot yet: nobody leads, or the node has just started" : "";
    } catch (error) {
      if (signal.aborted) return;
      const { code, message } = toAetherError(error);
      this.trouble = `${code}: ${message}`;
    }
    this.draw();
  }

  draw(): void {
    const { columns, rows } = this.terminal.size();
    const room = { columns, rows: Math.max(0, rows - 1) };
    const lines = this.snapshot === undefined ? [] : screenLines(this.snapshot, this.order, room);
    const foot = (this.trouble === "" ? `${FOOT}  (by ${this.order})` : this.trouble).slice(0, columns);
    const all = [...lines, ...Array<string>(room.rows - lines.length).fill(""), foot];
    this.terminal.write(HOME + all.map((line) => line + REST_OF_LINE).join("\r\n") + REST_OF_SCREEN);
  }
}

// Owns: the live view of `aether top`: a screen for each second that a node tells, keys, and a terminal that is left as
// it was found. Does not own: which node tells (follow.ts).
import type { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Terminal } from "../cli-io.ts";
import { followEvents } from "../follow.ts";
import { untilInterrupt } from "../interrupt.ts";
import type { Session } from "../options.ts";
import { printable } from "../printable.ts";
import {
  alertLines, type Order, screenLines, type Shown, type TopAlerts, topSchema, type TopSnapshot,
} from "./screen.ts";

const OTHER_SCREEN = "\u001b[?1049h\u001b[?25l";
const OWN_SCREEN = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const REST_OF_LINE = "\u001b[K";
const REST_OF_SCREEN = "\u001b[J";
const CTRL_C = "\u0003";
const ESCAPE = "\u001b";
const ENTER = "\r";
const BACKSPACES: readonly string[] = ["\u007f", "\b"];

const KEYS: Readonly<Record<string, Order>> = { c: "calls", e: "errors", p: "p99", n: "name" };
const FOOT = "c calls  e errors  p p99  n name  / filter  q quit";
const FILTER_LENGTH_MAX = 64;
/** A node says something every 5 s, whatever happens. */
const SILENCE_MS_MAX = 8 * SECOND_MS;

/**
 * Until `q` or Ctrl-C. When its node is lost another one goes on.
 * @throws AetherError what the first node says when it cannot begin
 */
export async function showLive(session: Session, terminal: Terminal, shown: Shown): Promise<void> {
  await untilInterrupt(session.io, async (interrupted) => {
    const quit = new AbortController();
    const signal = AbortSignal.any([interrupted, quit.signal]);
    const view = new LiveView(terminal, shown);
    const release = terminal.open((key) => {
      if (key === CTRL_C || (key === "q" && !view.isTyping)) quit.abort();
      else view.press(key);
    }, () => view.draw());
    terminal.write(OTHER_SCREEN);
    // What is reported meanwhile would stand in the middle of the screen.
    const io = { ...session.io, report: (line: string) => view.tell(line) };
    try {
      await followEvents({ ...session, io }, {
        what: "the metrics",
        path: () => "/v1/metrics/stream",
        silenceMsMax: SILENCE_MS_MAX,
        take: ({ event, data }) => {
          if (event === "snapshot") view.take(data);
          return "on";
        },
      }, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      terminal.write(OWN_SCREEN);
      release();
    }
  });
}

class LiveView {
  isTyping = false;
  private readonly terminal: Terminal;
  private shown: Shown;
  private snapshot: TopSnapshot | undefined;
  private alerts: TopAlerts;
  private trouble = "no snapshot yet";

  constructor(terminal: Terminal, shown: Shown) {
    this.terminal = terminal;
    this.shown = shown;
  }

  press(key: string): void {
    if (this.isTyping) this.type(key);
    else if (key === "/") this.isTyping = true;
    else if (key === ESCAPE) this.show({ filter: "" });
    else this.show({ order: KEYS[key] ?? this.shown.order });
    this.draw();
  }

  tell(trouble: string): void {
    this.trouble = printable(trouble);
    this.draw();
  }

  /** @throws AetherError E_VERSION when the node is of a build that says it otherwise */
  take(data: string): void {
    const { snapshot, alerts } = parseSnapshot(data);
    this.snapshot = snapshot ?? this.snapshot;
    this.alerts = alerts;
    this.tell(snapshot === null ? "no snapshot yet: nobody leads, or the node has just started" : "");
  }

  draw(): void {
    const { columns, rows } = this.terminal.size();
    const room = { columns, rows: Math.max(0, rows - 1) };
    const { snapshot, alerts } = this;
    const lines = snapshot === undefined
      ? alertLines(alerts).slice(0, room.rows).map((line) => line.slice(0, columns))
      : screenLines({ snapshot, alerts }, this.shown, room);
    const all = [...lines, ...Array<string>(room.rows - lines.length).fill(""), this.foot().slice(0, columns)];
    this.terminal.write(HOME + all.map((line) => line + REST_OF_LINE).join("\r\n") + REST_OF_SCREEN);
  }

  private foot(): string {
    const { order, filter } = this.shown;
    if (this.isTyping) return `names with: ${filter}_  (Enter, Escape)`;
    if (this.trouble !== "") return this.trouble;
    return `(by ${order}${filter === "" ? "" : `, with "${filter}"`})  ${FOOT}`;
  }

  private type(key: string): void {
    const { filter } = this.shown;
    if (key === ENTER) this.isTyping = false;
    else if (key === ESCAPE) {
      this.isTyping = false;
      this.show({ filter: "" });
    } else if (BACKSPACES.includes(key)) this.show({ filter: filter.slice(0, -1) });
    else if (/^[\w.-]$/.test(key) && filter.length < FILTER_LENGTH_MAX) this.show({ filter: filter + key });
  }

  private show(change: Partial<Shown>): void {
    this.shown = { ...this.shown, ...change };
  }
}

function parseSnapshot(data: string): z.output<typeof topSchema> {
  const parsed = topSchema.safeParse(JSON.parse(data));
  if (parsed.success) return parsed.data;
  const message = "the node tells its metrics in a way that this version does not know; update aether";
  throw new AetherError("E_VERSION", message, { cause: parsed.error });
}

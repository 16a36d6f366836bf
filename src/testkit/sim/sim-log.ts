// Owns: log lines of a simulated process: they become lines of the trace.
import type { Log, LogFields } from "../../env/telemetry.ts";
import type { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

export class SimLog implements Log {
  private readonly world: World;
  private readonly process: SimProcess;
  private readonly bindings: Readonly<Record<string, unknown>>;

  constructor(world: World, process: SimProcess, bindings: Readonly<Record<string, unknown>> = {}) {
    this.world = world;
    this.process = process;
    this.bindings = bindings;
  }

  error(fields: LogFields): void {
    this.note("error", fields);
  }

  warn(fields: LogFields): void {
    this.note("warn", fields);
  }

  info(fields: LogFields): void {
    this.note("info", fields);
  }

  debug(): void {
    // Left out of the trace: its last lines are few, and messages say the same.
  }

  child(bindings: Readonly<Record<string, unknown>>): Log {
    return new SimLog(this.world, this.process, { ...this.bindings, ...bindings });
  }

  private note(level: string, fields: LogFields): void {
    this.world.note(level, this.process.node, { kind: "log", fields: { ...this.bindings, ...fields } });
  }
}

// Owns: real nodes as child processes on loopback, for tests: configuration files, free ports, temporary directories,
// lines, signals, ends. Whatever a test does, no process and no file of its fleet outlives it.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { createDeferred } from "../../src/base/deferred.ts";
import { PROGRAM } from "../../src/base/package-files-adapter.ts";
import { findTestPorts } from "./test-ports.ts";

const READY_LINE = /^aether node \S+ ready api=/;
const POLL_MS = 20;
/** Generous: the machine may be busy with other things. Nothing here waits that long when all is well. */
export const PATIENCE_MS = 20_000;

/** Some commands wait for something to come about. */
const COMMAND_MS_MAX = 60_000;

export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface LaunchOptions {
  /** Another build: the path of its `cli.js`. */
  readonly cli?: string;
  /** Added to the environment, which has no AETHER_ variable of its own. */
  readonly variables?: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** What starts the process instead of starting it directly, for example in another network. It must exec. */
  readonly launcher?: readonly string[];
  /** Options of Node.js itself. */
  readonly nodeOptions?: readonly string[];
}

/** One process of the command line, built into dist. */
export class AetherProcess {
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  /** Resolves once, after the last line. */
  readonly ended: Promise<ProcessEnd>;
  private readonly child: ChildProcess;
  private readonly readySeen = createDeferred<void>();
  private end: ProcessEnd | undefined;

  constructor(args: readonly string[], options: LaunchOptions = {}) {
    const { variables = {}, cli = PROGRAM, directory = tmpdir(), launcher = [], nodeOptions = [] } = options;
    const [program, ...rest] = [...launcher, process.execPath, ...nodeOptions, cli, ...args];
    this.child = spawn(program ?? process.execPath, rest, {
      cwd: directory,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...environmentWithoutNodeSettings(), ...variables },
    });
    this.keepLines(this.child.stdout, this.stdout);
    this.keepLines(this.child.stderr, this.stderr);
    this.ended = this.awaitEnd();
    // ignored: who waits for readiness sees the failure; nobody has to
    this.readySeen.promise.catch(() => undefined);
    endWithThisProcess(this);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.end === undefined;
  }

  /** The lines of stderr that are not log lines: what a person is told. */
  get complaints(): readonly string[] {
    return this.stderr.filter((line) => !line.startsWith("{"));
  }

  /** Log lines with this event. */
  logged(event: string): readonly Readonly<Record<string, unknown>>[] {
    return this.stderr
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
      .filter((fields) => fields["event"] === event);
  }

  /** Resolves with the ready line; rejects with what was said when the process ends before. */
  async ready(): Promise<void> {
    await within(PATIENCE_MS, "its ready line", this.readySeen.promise, () => this.transcript());
  }

  /** Waits until the process has ended by itself. */
  async waitForEnd(limitMs = PATIENCE_MS): Promise<ProcessEnd> {
    return within(limitMs, "its end", this.ended, () => this.transcript());
  }

  signal(signal: NodeJS.Signals): void {
    if (this.isRunning) this.child.kill(signal);
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals): Promise<ProcessEnd> {
    this.signal(signal);
    return this.waitForEnd();
  }

  transcript(): string {
    const lines = [...this.stdout, ...this.stderr].slice(-40);
    return `process ${this.pid} (${JSON.stringify(this.end ?? "running")}) said:\n${lines.join("\n")}`;
  }

  private keepLines(stream: NodeJS.ReadableStream | null, lines: string[]): void {
    if (stream === null) return;
    createInterface({ input: stream, crlfDelay: Infinity }).on("line", (line) => {
      lines.push(line);
      if (READY_LINE.test(line)) this.readySeen.resolve();
    });
  }

  /** A port that was free a moment before is another's only by a fault of the tests: who has it is half the answer. */
  private portHolders(): string {
    if (!this.stderr.some((line) => line.includes("E_PORT_IN_USE"))) return "";
    try {
      return `\nlistening now:\n${execFileSync("ss", ["-Htlnp"], { encoding: "utf8" })}`;
    } catch (error) {
      return `\nwho listens is not known: ${String(error)}`;
    }
  }

  private awaitEnd(): Promise<ProcessEnd> {
    return new Promise((resolve) => {
      const onEnd = (end: ProcessEnd): void => {
        this.end = end;
        this.readySeen.reject(new Error(`ended before it was ready: ${this.transcript()}${this.portHolders()}`));
        resolve(end);
      };
      this.child.once("error", () => onEnd({ code: null, signal: null }));
      this.child.once("close", (code, signal) => onEnd({ code, signal }));
    });
  }
}

export interface FleetOptions {
  readonly names?: readonly string[];
  /** Those that begin the cluster, all when absent. The others join it. */
  readonly firstVoters?: readonly string[];
  readonly cluster?: string;
  /** Merged into the configuration of every node. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Where the data goes; a temporary directory when absent. */
  readonly directory?: string;
  /** How each node is launched, every time. */
  readonly launchOf?: (name: string) => LaunchOptions;
  /** Where nodes are found; neighbouring ports on loopback when absent. */
  readonly addresses?: FleetAddresses;
}

export interface FleetAddresses {
  /** Where this node listens for peers. */
  listen(node: string): string;
  /** Where one node reaches another. */
  peer(link: { readonly from: string; readonly to: string }): string;
  api(node: string): string;
  /** What this node says of itself, when that is not where it listens. */
  advertise?(node: string): string;
}

/** A cluster's nodes, each of which may be running or not. */
export class NodeFleet {
  readonly names: readonly string[];
  readonly directory: string;
  private readonly firstVoters: readonly string[];
  private readonly cluster: string;
  private readonly firstPort: number;
  private readonly config: Readonly<Record<string, unknown>>;
  private readonly launchOf: (name: string) => LaunchOptions;
  private readonly addresses: FleetAddresses | undefined;
  private readonly processes = new Map<string, AetherProcess>();
  private readonly all: AetherProcess[] = [];
  private isClosed = false;

  private constructor(directory: string, firstPort: number, options: FleetOptions) {
    this.directory = directory;
    this.firstPort = firstPort;
    this.names = options.names ?? ["n1", "n2", "n3"];
    this.firstVoters = options.firstVoters ?? this.names;
    this.cluster = options.cluster ?? "test";
    this.config = options.config ?? {};
    this.launchOf = options.launchOf ?? (() => ({}));
    this.addresses = options.addresses;
  }

  /** A fleet for one test, which it does not outlive. Nothing is started yet. */
  static async open(options: FleetOptions = {}): Promise<NodeFleet> {
    // Only here: programs that are no tests use fleets too, and there the test library cannot be loaded.
    const { onTestFinished } = await import("vitest");
    const fleet = await NodeFleet.create(options);
    onTestFinished(() => fleet.close());
    return fleet;
  }

  /** A fleet for several tests: whoever creates it closes it in `afterAll`. */
  static async create(options: FleetOptions = {}): Promise<NodeFleet> {
    const directory = await mkdtemp(join(options.directory ?? tmpdir(), "aether-fleet-"));
    const count = 2 * (options.names?.length ?? 3);
    const firstPort = await findTestPorts(count);
    return new NodeFleet(directory, firstPort, options);
  }

  /** From then on every end of a process is an orderly one. */
  get isClosing(): boolean {
    return this.isClosed;
  }

  get apis(): readonly string[] {
    return this.names.map((name) => this.api(name));
  }

  peer(name: string): string {
    return this.addresses?.listen(name) ?? `ws://127.0.0.1:${this.firstPort + this.names.indexOf(name)}`;
  }

  api(name: string): string {
    return this.addresses?.api(name) ?? `http://127.0.0.1:${this.firstPort + this.names.length + this.names.indexOf(name)}`;
  }

  dataDir(name: string): string {
    return join(this.directory, name);
  }

  configOf(name: string): Record<string, unknown> {
    return {
      cluster: this.cluster,
      node: name,
      listen: this.peer(name),
      api: this.api(name),
      ...(this.addresses?.advertise === undefined ? {} : { advertise: this.addresses.advertise(name) }),
      ...(this.firstVoters.includes(name)
        ? { voters: Object.fromEntries(this.firstVoters.map((voter) => [voter, this.peerAsSeenBy(name, voter)])) }
        : { join: this.firstVoters.map((voter) => this.peerAsSeenBy(name, voter)) }),
      dataDir: this.dataDir(name),
      ...this.config,
    };
  }

  private peerAsSeenBy(from: string, to: string): string {
    return from === to ? this.peer(to) : (this.addresses?.peer({ from, to }) ?? this.peer(to));
  }

  /** The process of a node that was started. */
  process(name: string): AetherProcess {
    const found = this.processes.get(name);
    if (found === undefined) throw new Error(`${name} was not started`);
    return found;
  }

  /** Starts a node with its configuration, some fields changed. Does not wait for anything. */
  async launch(
    name: string,
    changes: Readonly<Record<string, unknown>> = {},
    options: LaunchOptions = {},
  ): Promise<AetherProcess> {
    const file = join(this.directory, `${name}-${this.all.length}.yaml`);
    await mkdir(this.directory, { recursive: true });
    await writeFile(file, stringify({ ...this.configOf(name), ...changes }));
    const started = this.run(["node", "start", "--config", file], { ...this.launchOf(name), ...options });
    this.processes.set(name, started);
    return started;
  }

  /** Starts nodes and waits until each can serve. */
  async start(...names: readonly string[]): Promise<void> {
    const started = await Promise.all(names.map((name) => this.launch(name)));
    await Promise.all(started.map((node) => node.ready()));
  }

  async startAll(): Promise<void> {
    await this.start(...this.names);
  }

  /** SIGKILL: no goodbye, nothing flushed. */
  async kill(...names: readonly string[]): Promise<void> {
    for (const name of names) this.process(name).signal("SIGKILL");
    await Promise.all(names.map((name) => this.process(name).waitForEnd()));
  }

  /** Any command of the command line, ended with the fleet. */
  run(args: readonly string[], options: LaunchOptions = {}): AetherProcess {
    const started = new AetherProcess(args, { directory: this.directory, ...options });
    this.all.push(started);
    return started;
  }

  /** Runs a command against a node's API and waits for its end; fails with what was said unless it ends with 0. */
  async command(name: string, ...args: readonly string[]): Promise<AetherProcess> {
    const command = this.run([...args, "--api", this.api(name)]);
    const { code } = await command.waitForEnd(COMMAND_MS_MAX);
    if (code !== 0) throw new Error(`aether ${args.join(" ")} ended with ${code}: ${command.transcript()}`);
    return command;
  }

  /** Ends every process and deletes every file. Idempotent. */
  async close(): Promise<void> {
    this.isClosed = true;
    for (const started of this.all) {
      // A stopped process gets SIGKILL all the same.
      started.signal("SIGKILL");
    }
    await Promise.all(this.all.map((started) => started.ended));
    await rm(this.directory, { recursive: true, force: true });
  }
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed JSON, or the text when it is none. */
  readonly body: unknown;
}

/** One HTTP request: `body` is sent as JSON, `raw` as it is. */
export async function ask(
  url: string,
  options: {
    readonly method?: string;
    readonly body?: unknown;
    readonly raw?: string | Uint8Array<ArrayBuffer>;
    readonly headers?: Record<string, string>;
  } = {},
): Promise<Answer> {
  const { method = "GET", body, headers = {} } = options;
  const sent = options.raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const response = await fetch(url, {
    method,
    headers,
    signal: AbortSignal.timeout(PATIENCE_MS),
    ...(sent === undefined ? {} : { body: sent }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: parseJsonOrText(text) };
}

/** Asks again and again until the answer is one; fails with the last objection. */
export async function eventually<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  limitMs = PATIENCE_MS,
): Promise<T> {
  const deadline = Date.now() + limitMs;
  let objection: unknown;
  for (;;) {
    try {
      const found = await probe();
      if (found !== undefined) return found;
      objection = undefined;
    } catch (error) {
      objection = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`, { cause: objection });
    await sleep(POLL_MS);
  }
}

async function within<T>(limitMs: number, what: string, promise: Promise<T>, state: () => string): Promise<T> {
  const patience = new AbortController();
  const late = sleep(limitMs, undefined, { signal: patience.signal, ref: true }).then(() => {
    throw new Error(`waited ${limitMs} ms for ${what}: ${state()}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    // ignored: the abort only ends the waiting
    late.catch(() => undefined);
    patience.abort();
  }
}

function parseJsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // ignored: what is no JSON is given as it is
    return text;
  }
}

function environmentWithoutNodeSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("AETHER_") && !name.startsWith("VITEST")),
  );
}

/** For the case that the test process ends before the test has. */
function endWithThisProcess(started: AetherProcess): void {
  const kill = (): void => started.signal("SIGKILL");
  process.once("exit", kill);
  void started.ended.then(() => process.off("exit", kill));
}

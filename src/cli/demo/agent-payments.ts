// Owns: the payment service of the agents' demo: the one of the example, as a process of its own that nobody kills.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { createDeferred } from "../../base/deferred.ts";
import { AetherError } from "../../base/errors.ts";
import { EXAMPLES } from "../../base/package-files-adapter.ts";
import type { CliIo } from "../cli-io.ts";
import { HttpApi } from "../http-api.ts";

const SCRIPT = join(EXAMPLES, "03-refund-agent/payments.mjs");

/** The longest time that a refund takes: long enough to die in. */
const HOLD_MS = 800;

const pageSchema = z.object({
  key: z.string(),
  order: z.string(),
  /** It tells nobody what it did. */
  isSilent: z.boolean(),
  requests: z.number(),
  refunds: z.array(z.string()),
  /** Requests that it has not answered yet, and those whose sender did not wait for the answer. */
  held: z.number(),
  hungUp: z.number(),
});
const noticeSchema = z.object({ key: z.string(), order: z.string(), requests: z.number() });
const booksSchema = z.object({
  answers: z.object({ "done": z.number(), "not-done": z.number(), "unknown": z.number() }),
  refunds: z.array(pageSchema),
  /** What customers were told. */
  notices: z.array(noticeSchema),
});

export type BooksPage = z.output<typeof pageSchema>;
export type Books = z.output<typeof booksSchema>;

export class DemoPayments {
  readonly url: string;
  private readonly child: ChildProcess;
  private readonly api: HttpApi;

  private constructor(io: CliIo, child: ChildProcess, url: string) {
    this.child = child;
    this.url = url;
    this.api = new HttpApi(io, url);
  }

  static async start(io: CliIo, seed: number): Promise<DemoPayments> {
    const options = ["--port", "0", "--seed", String(seed), "--hold-ms", String(HOLD_MS)];
    const child = spawn(process.execPath, [SCRIPT, ...options], {
      // A group of its own, as the nodes have; it ends when the channel breaks.
      detached: true,
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    const said = createDeferred<string>();
    if (child.stdout !== null) createInterface({ input: child.stdout }).once("line", (line) => said.resolve(line));
    child.once("exit", (code) => said.reject(new AetherError("E_UNAVAILABLE", `the payment service ended (${code})`)));
    const [url = ""] = /http:\S+/.exec(await said.promise) ?? [];
    return new DemoPayments(io, child, url);
  }

  books(): Promise<Books> {
    return this.api.get(booksSchema, "/books");
  }

  /** What happens to the first request for an order, instead of chance. */
  async wish(order: string, fate: string): Promise<void> {
    await this.api.request(z.unknown(), "PUT", `/troubles/${order}`, { body: fate });
  }

  stop(): void {
    this.child.kill("SIGKILL");
  }
}

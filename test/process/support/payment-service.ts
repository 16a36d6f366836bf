// Owns: the payment service of the refund agent's example, as a process of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { createDeferred } from "../../../src/base/deferred.ts";
import { ask } from "../../support/node-fleet.ts";

const SCRIPT = fileURLToPath(new URL("../../../docs/examples/03-refund-agent/payments.mjs", import.meta.url));

const booksSchema = z.object({
  answers: z.object({ "done": z.int(), "not-done": z.int(), "unknown": z.int() }),
  refunds: z.array(z.object({
    key: z.string(), order: z.string(), requests: z.int(), refunds: z.array(z.string()),
  })),
  notices: z.array(z.object({ key: z.string(), order: z.string() })),
});

export class PaymentService {
  readonly url: string;
  private readonly child: ChildProcess;

  private constructor(child: ChildProcess, url: string) {
    this.child = child;
    this.url = url;
  }

  static async start(...options: readonly string[]): Promise<PaymentService> {
    const args = [SCRIPT, "--port", "0", ...options];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const said = createDeferred<string>();
    createInterface({ input: child.stdout }).once("line", (line) => said.resolve(line));
    child.once("exit", (code) => said.reject(new Error(`the payment service ended with ${code}`)));
    process.once("exit", () => child.kill("SIGKILL"));
    const url = /http:\S+/.exec(await said.promise)?.[0] ?? "";
    return new PaymentService(child, url);
  }

  async books(): Promise<z.output<typeof booksSchema>> {
    return booksSchema.parse((await ask(`${this.url}/books`)).body);
  }

  close(): void {
    this.child.kill("SIGKILL");
  }
}

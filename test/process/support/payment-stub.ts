// Owns: the world outside of jobs that are held at arrows: gates that a test opens, and a service that counts what it
// is asked and never notices that it was asked before.
import type { ServerResponse } from "node:http";
import { openWebServer, type WebServer } from "../../support/web-server.ts";

export class PaymentStub {
  /** What was done for each effect: its receipts. */
  readonly receipts = new Map<string, string[]>();
  /** The effects of each job, by its name. */
  readonly effects = new Map<string, Set<string>>();
  /** How often it was asked what became of an effect. */
  readonly asked = new Map<string, number>();
  private readonly closed = new Set<string>();
  private readonly held = new Map<string, ServerResponse[]>();
  private readonly reached = new Set<string>();
  private server: WebServer | undefined;

  static async open(): Promise<PaymentStub> {
    const stub = new PaymentStub();
    stub.server = await openWebServer((request, response) => {
      const [, verb = "", first = "", second = ""] = (request.url ?? "").split("/");
      void stub.handle(verb, first, second, response);
    });
    return stub;
  }

  get url(): string {
    return this.server?.url ?? "";
  }

  close(): void {
    this.server?.close();
  }

  /** From now on whoever comes there is held. `paying`: before it pays, `paid`: after it. */
  shut(name: string, where: string): void {
    this.closed.add(`${name}/${where}`);
  }

  isReached(name: string, where: string): boolean {
    return this.reached.has(`${name}/${where}`);
  }

  open(name: string, where: string): void {
    const gate = `${name}/${where}`;
    this.closed.delete(gate);
    for (const response of this.held.get(gate) ?? []) response.emit("let-through");
    this.held.delete(gate);
  }

  openAll(): void {
    for (const gate of [...this.closed]) {
      const [name = "", where = ""] = gate.split("/");
      this.open(name, where);
    }
  }

  receiptsOf(name: string): readonly string[] {
    return [...this.effects.get(name) ?? []].flatMap((effect) => this.receipts.get(effect) ?? []);
  }

  private async handle(verb: string, first: string, second: string, response: ServerResponse): Promise<void> {
    if (verb === "gate") {
      await this.pass(first, second, response);
      return void response.end();
    }
    if (verb === "pay") return await this.pay(first, second, response);
    this.asked.set(first, (this.asked.get(first) ?? 0) + 1);
    const [receipt] = this.receipts.get(first) ?? [];
    response.statusCode = receipt === undefined ? 404 : 200;
    response.end(JSON.stringify({ receipt }));
  }

  private async pay(name: string, effect: string, response: ServerResponse): Promise<void> {
    this.effects.set(name, (this.effects.get(name) ?? new Set()).add(effect));
    // Whoever hangs up before it is paid has not been.
    if (!await this.pass(name, "paying", response)) return;
    const receipts = this.receipts.get(effect) ?? [];
    const receipt = `${name}-${receipts.length + 1}`;
    this.receipts.set(effect, [...receipts, receipt]);
    await this.pass(name, "paid", response);
    response.end(JSON.stringify({ receipt }));
  }

  /** False when whoever was held has gone. */
  private async pass(name: string, where: string, response: ServerResponse): Promise<boolean> {
    const gate = `${name}/${where}`;
    this.reached.add(gate);
    if (!this.closed.has(gate)) return true;
    this.held.set(gate, [...this.held.get(gate) ?? [], response]);
    return await new Promise((resolve) => {
      response.once("let-through", () => resolve(!response.destroyed));
      response.once("close", () => resolve(false));
    });
  }
}

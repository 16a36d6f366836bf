// Owns: callers that go on whatever happens, and never send a call twice.
import { type Client, connect } from "../../../src/client/connect.ts";
import { eventually } from "../../support/node-fleet.ts";

/** One call; rejects if it failed. `count` is how many the caller has made before. */
export type OneCall = (client: Client, caller: number, count: number) => Promise<void>;

export class SteadyCalls {
  readonly failures: unknown[] = [];
  answered = 0;
  private isStopping = false;
  private readonly clients: readonly Client[];
  private readonly callers: readonly Promise<void>[];

  /** One caller for each address: an address that is listed twice has two. */
  constructor(apis: readonly string[], call: OneCall) {
    this.clients = apis.map((api) => connect({ nodes: [api] }));
    this.callers = this.clients.map((client, caller) => this.goOn(client, caller, call));
  }

  async progress(calls: number): Promise<void> {
    const enough = this.answered + calls;
    await eventually(`${calls} more answers`, () => this.answered >= enough || undefined);
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    await Promise.all(this.callers);
    for (const client of this.clients) client.close();
  }

  private async goOn(client: Client, caller: number, call: OneCall): Promise<void> {
    for (let count = 0; !this.isStopping; count++) {
      try {
        await call(client, caller, count);
        this.answered += 1;
      } catch (error) {
        this.failures.push(error);
      }
    }
  }
}

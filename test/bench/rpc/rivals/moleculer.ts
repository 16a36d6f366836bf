// Owns: Moleculer as this benchmark uses it. It is not a dependency: rivals.ts installs it where these programs run.
import { createRequire } from "node:module";

interface Broker {
  createService(service: {
    readonly name: string;
    readonly actions: Readonly<Record<string, (context: { readonly params: unknown }) => unknown>>;
  }): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  waitForServices(names: readonly string[]): Promise<unknown>;
  call(action: string, input: unknown): Promise<unknown>;
}

interface MoleculerModule {
  readonly ServiceBroker: new (options: Readonly<Record<string, unknown>>) => Broker;
}

/** A node with everything at its default but the transporter: TCP between two known addresses. */
export function createBroker(nodeID: string, urls: readonly string[]): Broker {
  const { ServiceBroker } = createRequire(import.meta.url)("moleculer") as MoleculerModule;
  const transporter = { type: "TCP", options: { udpDiscovery: false, urls } };
  return new ServiceBroker({ nodeID, transporter, logger: false });
}

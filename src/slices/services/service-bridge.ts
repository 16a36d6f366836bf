// Owns: what ONE worker has under way with the services of its node: bounded, cancelled when it says so or ends.
// Does not own: what the services do.
import { AetherError, toAetherError } from "../../base/errors.ts";
import type { HostMessage } from "../core/worker-protocol.ts";
import type { ServiceCall, ServiceCaller, SliceService, SliceServices } from "./slice-services.ts";

export interface ServiceBridgePorts {
  readonly services: SliceServices;
  post(message: HostMessage): void;
}

export interface ServiceBridgeSetup {
  readonly caller: ServiceCaller;
  readonly outgoingCallsMax: number;
}

export class ServiceBridge {
  private readonly ports: ServiceBridgePorts;
  private readonly setup: ServiceBridgeSetup;
  private readonly opened = new Map<string, SliceService>();
  private readonly underWay = new Map<number, AbortController>();
  private isClosed = false;

  constructor(ports: ServiceBridgePorts, setup: ServiceBridgeSetup) {
    this.ports = ports;
    this.setup = setup;
  }

  start(id: number, call: ServiceCall): void {
    const { outgoingCallsMax } = this.setup;
    if (this.underWay.size >= outgoingCallsMax) return this.fail(id, tooMany(outgoingCallsMax));
    const controller = new AbortController();
    this.underWay.set(id, controller);
    this.run(call, controller.signal).then(
      (value) => {
        if (this.underWay.delete(id)) this.ports.post({ kind: "service-answer", id, reply: { kind: "ok", value } });
      },
      (thrown: unknown) => {
        if (this.underWay.delete(id)) this.fail(id, toAetherError(thrown));
      },
    );
  }

  cancel(id: number): void {
    this.underWay.get(id)?.abort(new AetherError("E_TIMEOUT", "the caller gave up"));
  }

  /** The worker has ended: nobody waits for an answer, and what it held is given back. Idempotent. */
  close(reason: string): void {
    this.isClosed = true;
    for (const controller of this.underWay.values()) controller.abort(new AetherError("E_TIMEOUT", reason));
    this.underWay.clear();
    for (const service of this.opened.values()) service.close();
    this.opened.clear();
  }

  private async run({ service, op, args, timeoutMs }: ServiceCall, signal: AbortSignal): Promise<unknown> {
    return await this.open(service).run(op, args, { timeoutMs, signal });
  }

  private open(name: string): SliceService {
    const opened = this.opened.get(name);
    if (opened !== undefined) return opened;
    const { services } = this.ports;
    const open = Object.hasOwn(services, name) ? services[name] : undefined;
    if (open === undefined || this.isClosed) {
      throw new AetherError("E_UNAVAILABLE", `this node has no service "${name.slice(0, 40)}" for slices`);
    }
    const service = open(this.setup.caller, (message) => this.ports.post(message));
    this.opened.set(name, service);
    return service;
  }

  private fail(id: number, error: AetherError): void {
    this.ports.post({ kind: "service-answer", id, reply: { kind: "error", error: error.toBody() } });
  }
}

function tooMany(limit: number): AetherError {
  const message = `this instance has ${limit} requests for its state under way; wait for some of them`;
  return new AetherError("E_OVERLOADED", message, { details: { limit } });
}

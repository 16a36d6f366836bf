// Owns: the span of each call that an instance of this node is handed: from there until its reply, the wait for a place
// included. Does not own: the span of the call as its caller sees it (invoker.ts).
import type { CancelSignal } from "../base/cancellation.ts";
import type { Span, Tracing } from "../env/tracing.ts";
import type { IncomingCall, IncomingReply, InstanceKey, RunningInstances } from "../slices/host/running-instances.ts";
import { rpcAttributes } from "./span-attributes.ts";

export class TracedInstances implements RunningInstances {
  private readonly tracing: Tracing;
  private readonly local: RunningInstances;

  constructor(env: { readonly tracing: Tracing }, ports: { readonly local: RunningInstances }) {
    this.tracing = env.tracing;
    this.local = ports.local;
  }

  invoke(call: IncomingCall, signal?: CancelSignal): Promise<IncomingReply> {
    const span = this.tracing.isOn ? this.begin(call) : undefined;
    return span === undefined ? this.local.invoke(call, signal) : this.run(span, call, signal);
  }

  inFlight(instance: InstanceKey): number {
    return this.local.inFlight(instance);
  }

  private begin({ instance, method, traceparent }: IncomingCall): Span | undefined {
    const slice = sliceOf(instance);
    return this.tracing.begin({
      name: `${slice}.${method}`,
      kind: "server",
      parent: traceparent,
      attributes: { ...rpcAttributes(slice, method), "aether.instance": instance },
    });
  }

  private async run(span: Span, call: IncomingCall, signal: CancelSignal | undefined): Promise<IncomingReply> {
    const reply = await this.local.invoke({ ...call, traceparent: span.traceparent }, signal);
    span.end({
      error: reply.kind === "ok" ? undefined : reply.error.code,
      attributes: { "aether.outcome": reply.kind },
    });
    return reply;
  }
}

/** What an instance's artifact is called: `orders` of `demo:orders:1.0.0/0`. */
function sliceOf(instance: InstanceKey): string {
  return instance.split(":")[1] ?? instance;
}

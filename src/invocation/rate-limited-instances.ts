// Owns: the rates that contracts allow, kept by the instances of this node: each has its share of what all have.
// Does not own: the arithmetic (core/token-bucket.ts), what a caller does about a refusal (core/retry-policy.ts).
import type { CancelSignal } from "../base/cancellation.ts";
import { AetherError } from "../base/errors.ts";
import type { EndpointLookup } from "../cluster/endpoints/endpoint-lookup.ts";
import type { Clock } from "../env/clock.ts";
import type {
  HostedInstances, HostedMethod, IncomingCall, IncomingReply, InstanceKey,
} from "../slices/host/running-instances.ts";
import { levelAt, shareOf, takeToken, type Bucket, type Rate } from "./core/token-bucket.ts";

export interface RateLimitedInstancesPorts {
  readonly local: HostedInstances;
  readonly lookup: Pick<EndpointLookup, "find">;
}

/** With more of them, those that are full again are forgotten: a new one is full too. */
const BUCKETS_KEPT_MAX = 4_096;

interface KeptBucket {
  readonly bucket: Bucket;
  readonly rate: Rate;
}

export class RateLimitedInstances implements HostedInstances {
  private readonly clock: Clock;
  private readonly ports: RateLimitedInstancesPorts;
  private readonly buckets = new Map<string, KeptBucket>();

  constructor(env: { readonly clock: Clock }, ports: RateLimitedInstancesPorts) {
    this.clock = env.clock;
    this.ports = ports;
  }

  invoke(call: IncomingCall, signal?: CancelSignal, onEnd?: (end: IncomingReply) => void): Promise<IncomingReply> {
    const refusal = this.refuse(call);
    return refusal === undefined ? this.ports.local.invoke(call, signal, onEnd) : Promise.resolve(refusal);
  }

  methodOf(instance: InstanceKey, method: string): HostedMethod | undefined {
    return this.ports.local.methodOf(instance, method);
  }

  inFlight(instance: InstanceKey): number {
    return this.ports.local.inFlight(instance);
  }

  private refuse({ instance, method }: IncomingCall): IncomingReply | undefined {
    const found = this.methodOf(instance, method);
    const limit = found?.policy?.rateLimit;
    if (found === undefined || limit === undefined) return undefined;
    const rate = shareOf(limit, this.ports.lookup.find(found.slice, method).all.endpoints.length);
    const name = `${instance}/${method}`;
    const nowMs = this.clock.nowMs();
    const taken = takeToken(this.buckets.get(name)?.bucket, rate, nowMs);
    if (taken.kind === "empty") return overRate(`${found.slice}.${method}`, limit, taken.retryAfterMs);
    this.buckets.set(name, { bucket: taken.bucket, rate });
    if (this.buckets.size > BUCKETS_KEPT_MAX) this.forgetFull(nowMs);
    return undefined;
  }

  private forgetFull(nowMs: number): void {
    for (const [name, { bucket, rate }] of this.buckets) {
      if (levelAt(bucket, rate, nowMs) >= rate.burst) this.buckets.delete(name);
    }
  }
}

function overRate(name: string, { perSecond }: Rate, retryAfterMs: number): IncomingReply {
  const message = `did not start ${name}: its contract allows ${perSecond} calls per second; try again later`;
  const error = new AetherError("E_OVERLOADED", message, { details: { retryAfterMs } });
  return { kind: "not-started", error: error.toBody() };
}

// Owns: the world outside of a simulated cluster: services that its code sends requests to, in virtual time. They
// outlive every node, and each request that reaches one is in the book. What was sent arrives, also when its sender
// dies right after; the answer reaches only a sender that lives.
// Does not own: who sends what (tool-mock.ts).
import { createDeferred } from "../../base/deferred.ts";
import { parseNodeId } from "../../base/ids.ts";
import type { Random } from "../../base/random.ts";
import { SimProcess } from "./sim-process.ts";
import type { World } from "./world.ts";

/** What is sent. */
export interface Outgoing {
  readonly service: string;
  /** The effect that it asks for, the same in every run that wants the same. */
  readonly what: string;
  readonly input: unknown;
  /** By which the other side may know that it is the same again. */
  readonly key: string | undefined;
  /** It changes nothing there. */
  readonly isRead: boolean;
}

/** `working`: it has arrived. `done`: it has had its effect. `refused`: it has none. */
export type RequestState = "travelling" | "working" | "done" | "refused";

/** A request, as the outside knows it. */
export interface OutsideRequest extends Outgoing {
  /** The node that sent it. */
  readonly from: string;
  /** Virtual time. */
  readonly sentAtMs: number;
  readonly arrivedAtMs: number | undefined;
  readonly state: RequestState;
  /** Its key was known: it was answered as the first one, and had no effect of its own. */
  readonly isRepeat: boolean;
}

/** What a service does with a request. What it throws means that there was no effect. */
export type Serve = (request: OutsideRequest, time: OutsideTime) => unknown;

export interface OutsideTime {
  /** Virtual time. */
  readonly nowMs: number;
  /** Resolves after so many milliseconds of virtual time. */
  sleep(delayMs: number): Promise<void>;
  /** The request has its effect now, and its sender never hears of it; `answer` is what others are told of it. */
  loseAnswer(answer: unknown): Promise<never>;
}

export interface OutsideService {
  readonly serve: Serve;
  /** Whether a key that is known already has no second effect. */
  readonly honoursKeys: boolean;
  /** How long a request is on its way there, at most. Default some milliseconds. */
  readonly travelMsMax?: number;
}

type Answer =
  | { readonly kind: "answer"; readonly value: unknown }
  | { readonly kind: "error"; readonly error: unknown };

type Entry = { -readonly [K in keyof OutsideRequest]: OutsideRequest[K] } & { readonly answer: Promise<Answer> };

/** One way, at least and at most. */
const WAY_MS_MIN = 0.2;
const WAY_MS_MAX = 2;

export class Outside {
  private readonly world: World;
  private readonly random: Random;
  private readonly process = new SimProcess(parseNodeId("outside"), 1);
  private readonly entries: Entry[] = [];

  constructor(world: World) {
    this.world = world;
    this.random = world.random.fork("outside");
  }

  /** In the order in which they were sent. */
  get requests(): readonly OutsideRequest[] {
    return this.entries;
  }

  /** What has come about, once for each time that it has. */
  get effects(): readonly string[] {
    return this.entries.filter(({ state, isRead, isRepeat }) => state === "done" && !isRead && !isRepeat)
      .map(({ what }) => what);
  }

  /** Asks a service; rejects with what it threw, or when `signal` aborts: the request goes its way all the same. */
  ask(sender: SimProcess, outgoing: Outgoing, service: OutsideService, signal?: AbortSignal): Promise<unknown> {
    const { promise, resolve, reject } = createDeferred<unknown>();
    // What a dead process or an ended worker still does reaches nothing.
    if (!sender.isAlive) return promise;
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    const onAbort = (): void => reject(signal?.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    const deliver = (answer: Answer): void => {
      this.world.schedule({ delayMs: this.wayMs(), kind: "answer", process: sender }, () => {
        signal?.removeEventListener("abort", onAbort);
        if (answer.kind === "answer") resolve(answer.value);
        else reject(answer.error);
      });
    };
    this.send(sender, outgoing, service, deliver);
    return promise;
  }

  /** What the first request with this key was answered, or is going to be; undefined when none has arrived. */
  answerOf(service: string, key: string): Promise<unknown> | undefined {
    return this.entryOf(service, key)?.answer.then((answer) => (answer.kind === "answer" ? answer.value : undefined));
  }

  private entryOf(service: string, key: string): Entry | undefined {
    const found = this.entries.filter((entry) => entry.service === service && entry.key === key && !entry.isRepeat);
    return found.find(({ state }) => state === "done") ?? found.find(({ state }) => state === "working");
  }

  private send(
    sender: SimProcess, outgoing: Outgoing, service: OutsideService, deliver: (answer: Answer) => void,
  ): void {
    const done = createDeferred<Answer>();
    const entry: Entry = {
      ...outgoing, from: sender.node, sentAtMs: this.world.nowMs, arrivedAtMs: undefined, state: "travelling",
      isRepeat: false, answer: done.promise,
    };
    this.entries.push(entry);
    const knows = service.honoursKeys && outgoing.key !== undefined ? outgoing.key : undefined;
    const delayMs = this.wayMs(service.travelMsMax);
    this.world.schedule({ delayMs, kind: "request", process: this.process }, () => {
      const first = knows === undefined ? undefined : this.entryOf(outgoing.service, knows);
      entry.arrivedAtMs = this.world.nowMs;
      entry.isRepeat = first !== undefined;
      entry.state = "working";
      this.world.note("outside", sender.node, { kind: "text", text: outgoing.what });
      this.world.spawn(this.process, async () => {
        const end = (answer: Answer): void => {
          entry.state = answer.kind === "answer" ? "done" : "refused";
          done.resolve(answer);
        };
        const answer = await (first === undefined ? this.serve(entry, service, end) : first.answer);
        end(answer);
        deliver(answer);
      });
    });
  }

  private async serve(entry: Entry, { serve }: OutsideService, end: (answer: Answer) => void): Promise<Answer> {
    const { world, process } = this;
    const time: OutsideTime = {
      get nowMs() {
        return world.nowMs;
      },
      sleep: (delayMs) => new Promise((resolve) => {
        world.schedule({ delayMs, kind: "outside", process }, resolve);
      }),
      loseAnswer: (value) => {
        end({ kind: "answer", value });
        return new Promise(() => undefined);
      },
    };
    try {
      return { kind: "answer", value: await serve(entry, time) };
    } catch (error) {
      return { kind: "error", error };
    }
  }

  private wayMs(mostMs = WAY_MS_MAX): number {
    return WAY_MS_MIN + this.random.next() * Math.max(0, mostMs - WAY_MS_MIN);
  }
}

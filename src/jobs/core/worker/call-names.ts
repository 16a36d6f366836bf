// Owns: the names of calls: where in the code of an agent each stands, the same in every run.
// `branch#1/refund/order-7#2` is the second call of `refund` with the key `order-7` in the first branch `branch`.
import { AetherError } from "../../../base/errors.ts";
import type { CallName } from "../ids.ts";

/** Calls are part of keys of the store. */
export const CALL_NAME_LENGTH_MAX = 200;

const FIRST_RUN = 1;
const PART = /^[A-Za-z0-9][A-Za-z0-9 ._:-]{0,99}$/;

/**
 * Where the calls of a run stand. Those of later runs are all named after it, which no name of code can be: what is
 * left of an earlier run, a timer, a decision, the end of a child, is so never taken for one of this run's, and the
 * effect ids and derived values of both differ.
 */
export function scopeOfRun(run: number): string {
  return run === FIRST_RUN ? "" : `@${run}`;
}

export interface CallPlace {
  /** Name of the branch that it is in; empty for that of the job itself. */
  readonly scope: string;
  readonly name: string;
  /** Tells calls of one name apart that run at the same time. */
  readonly key?: string | undefined;
}

export class CallNames {
  private readonly counts = new Map<string, number>();
  private readonly open = new Set<string>();

  /**
   * Names a call that lasts until `close`.
   * @throws AetherError E_INVALID for an unusable name, and while another call of that name is not over: which of them
   *   comes first would depend on which is faster
   */
  begin(place: CallPlace): CallName {
    const path = pathOf(place);
    if (this.open.has(path)) {
      const advice = "await it first, give each a key, or put them into branches of job.all";
      throw new AetherError("E_INVALID", `the call "${path}" is not over and there is another one: ${advice}`);
    }
    const call = this.count(path);
    this.open.add(path);
    return call;
  }

  end(call: CallName): void {
    this.open.delete(call.slice(0, call.lastIndexOf("#")));
  }

  /** Names a call that is over at once. @throws AetherError E_INVALID for an unusable name */
  pass(place: CallPlace): CallName {
    return this.count(pathOf(place));
  }

  private count(path: string): CallName {
    const occurrence = (this.counts.get(path) ?? 0) + 1;
    const call = `${path}#${occurrence}`;
    if (call.length > CALL_NAME_LENGTH_MAX) {
      throw new AetherError("E_INVALID", `the call "${call}" has ${call.length} characters with its branches; ` +
        `${CALL_NAME_LENGTH_MAX} is the limit: use shorter names`);
    }
    this.counts.set(path, occurrence);
    return call as CallName;
  }
}

function pathOf({ scope, name, key }: CallPlace): string {
  const parts = key === undefined ? [name] : [name, key];
  for (const part of parts) {
    // From code without types it may be anything.
    if (typeof part === "string" && PART.test(part)) continue;
    const shown = String(part).slice(0, 120);
    throw new AetherError("E_INVALID", `"${shown}" cannot name a step, wait, branch or key: begin with a letter or ` +
      'digit, then up to 99 of letters, digits, " ", ".", "_", ":" and "-"');
  }
  return scope === "" ? parts.join("/") : `${scope}/${parts.join("/")}`;
}

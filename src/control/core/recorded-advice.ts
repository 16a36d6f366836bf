// Owns: what models advised while a load was recorded, or might advise: played beside rules, in the place of models.
// Does not own: what may be done of it (bounds.ts).
import { AetherError } from "../../base/errors.ts";
import { SECOND_MS } from "../../base/units.ts";
import type { Advised } from "./advice.ts";
import type { AdviceSource } from "./layered.ts";

/** Lines of one file: a model that is asked every ten seconds says no more of a slice in a day. */
export const ADVICE_LINES_MAX = 10_000;
const NOTHING: Advised = { advice: [], undecided: [] };

interface Said {
  readonly second: number;
  readonly slice: string;
  readonly instances: number;
}

/** What was said last of each slice counts until something else is said of it, for `countsForMs` at most. */
export class RecordedAdvice implements AdviceSource {
  private readonly said: readonly Said[];
  private readonly countsForMs: number;
  private second = 0;

  constructor(said: readonly Said[], countsForMs: number) {
    this.said = said;
    this.countsForMs = countsForMs;
  }

  moveTo(second: number): void {
    this.second = second;
  }

  latest(): Advised {
    const newest = new Map<string, Said>();
    for (const one of this.said) {
      const agoMs = (this.second - one.second) * SECOND_MS;
      if (agoMs >= 0 && agoMs < this.countsForMs) newest.set(one.slice, one);
    }
    if (newest.size === 0) return NOTHING;
    return {
      advice: [...newest.values()].map(({ slice, instances, second }) =>
        ({ slice, instances, source: "model", reason: `said in second ${second}` })),
      undecided: [],
    };
  }
}

/**
 * CSV with the columns seconds,slice,instances. Nothing is checked of the numbers but that they are some: models say
 * nonsense too.
 * @throws AetherError E_INVALID with the line that is wrong; E_TOO_LARGE
 */
export function parseAdvice(text: string): readonly Said[] {
  const lines = text.split(/\r?\n/);
  if (lines.length > ADVICE_LINES_MAX) {
    const message = `advice has at most ${ADVICE_LINES_MAX} lines, this one has ${lines.length}`;
    throw new AetherError("E_TOO_LARGE", message, { details: { limit: ADVICE_LINES_MAX, actual: lines.length } });
  }
  return lines.flatMap((line, index): Said[] => {
    if (line.trim() === "" || line.startsWith("#") || (index === 0 && /^seconds\b/.test(line))) return [];
    const [seconds = "", slice = "", instances = "", ...rest] = line.split(",").map((cell) => cell.trim());
    const [second, wanted] = [Number(seconds), Number(instances)];
    const isRead = seconds !== "" && slice !== "" && instances !== "" && rest.length === 0;
    if (isRead && Number.isFinite(second) && Number.isFinite(wanted)) return [{ second, slice, instances: wanted }];
    throw new AetherError("E_INVALID", `this is no advice: line ${index + 1}: expected seconds,slice,instances`);
  }).sort((a, b) => a.second - b.second);
}

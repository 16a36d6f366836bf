// Owns: C11 for single keys, without trusting revisions: searches an order of the operations on one key that agrees
// with real time and with a register (Wing and Gong's search with memoization, as in Porcupine). Operations of unknown
// outcome may take effect at any time after their call, or never. What it sees of a key: values, presence, success.
import { unreachable } from "../../../src/base/assert.ts";

/** The content of the register; undefined = absent. */
export type RegisterValue = string | undefined;

export type RegisterAction =
  | { readonly kind: "get"; readonly saw: RegisterValue }
  | { readonly kind: "put"; readonly value: string }
  /** `saw` is the content found when the comparison failed. */
  | { readonly kind: "cas"; readonly expected: string; readonly value: string; readonly saw: CasAnswer }
  | { readonly kind: "delete"; readonly deleted: boolean };

export type CasAnswer =
  { readonly kind: "swapped" } | { readonly kind: "kept"; readonly value: RegisterValue };

export interface RegisterOperation {
  readonly id: number;
  readonly called: number;
  /** Absent: the outcome is unknown; what the action says it saw means nothing then. */
  readonly returned: number | undefined;
  readonly action: RegisterAction;
}

export type RegisterVerdict =
  | { readonly kind: "linearizable" }
  | { readonly kind: "violation"; readonly message: string }
  /** The search was given up: neither proved nor refuted. */
  | { readonly kind: "inconclusive" };

const STEPS_MAX = 200_000;

interface Step {
  readonly isPossible: boolean;
  readonly next: RegisterValue;
}

export function checkRegister(operations: readonly RegisterOperation[]): RegisterVerdict {
  // Answered operations in the order of their answers come first: most histories need no step back this way.
  const ordered = [...operations].sort((a, b) => {
    return (a.returned ?? Infinity) - (b.returned ?? Infinity) || a.called - b.called;
  });
  return new Search(ordered).run();
}

class Search {
  private readonly operations: readonly RegisterOperation[];
  private readonly answeredCount: number;
  private readonly isPlaced: Uint8Array;
  private readonly visited = new Set<string>();
  private steps = 0;
  private deepest = 0;
  private stuckAt: RegisterOperation | undefined;

  constructor(operations: readonly RegisterOperation[]) {
    this.operations = operations;
    this.answeredCount = operations.filter(({ returned }) => returned !== undefined).length;
    this.isPlaced = new Uint8Array(operations.length);
  }

  run(): RegisterVerdict {
    const isFound = this.extend(undefined, 0);
    if (isFound === "given-up") return { kind: "inconclusive" };
    if (isFound) return { kind: "linearizable" };
    const stuck = this.stuckAt === undefined ? "" : `; operation ${this.stuckAt.id} fits nowhere`;
    const placed = `${this.deepest} of ${this.answeredCount} answered operations can be ordered`;
    return { kind: "violation", message: `${placed}${stuck}` };
  }

  /** Depth of recursion = number of operations on one key. */
  private extend(value: RegisterValue, placedAnswers: number): boolean | "given-up" {
    if (placedAnswers === this.answeredCount) return true;
    this.steps += 1;
    if (this.steps > STEPS_MAX) return "given-up";
    const key = `${Buffer.from(this.isPlaced).toString("latin1")}${value ?? "\u0002"}`;
    if (this.visited.has(key)) return false;
    this.visited.add(key);
    // Nothing may be placed that was called after an unplaced operation had returned.
    const horizon = this.earliestReturn();
    if (placedAnswers >= this.deepest) {
      this.deepest = placedAnswers;
      this.stuckAt = horizon.operation;
    }
    for (const [index, operation] of this.operations.entries()) {
      if (this.isPlaced[index] === 1 || operation.called > horizon.stamp) continue;
      const step = stepOf(operation, value);
      if (!step.isPossible) continue;
      this.isPlaced[index] = 1;
      const found = this.extend(step.next, placedAnswers + (operation.returned === undefined ? 0 : 1));
      if (found !== false) return found;
      this.isPlaced[index] = 0;
    }
    return false;
  }

  private earliestReturn(): { readonly stamp: number; readonly operation: RegisterOperation | undefined } {
    // Sorted by return: the first unplaced one returned first.
    const index = this.isPlaced.indexOf(0);
    const operation = this.operations[index];
    return { stamp: operation?.returned ?? Infinity, operation };
  }
}

function stepOf({ action, returned }: RegisterOperation, value: RegisterValue): Step {
  const isOpen = returned === undefined;
  switch (action.kind) {
    case "get":
      return { isPossible: isOpen || action.saw === value, next: value };
    case "put":
      return { isPossible: true, next: action.value };
    case "delete":
      return { isPossible: isOpen || action.deleted === (value !== undefined), next: undefined };
    case "cas": {
      const isSwap = value === action.expected;
      const next = isSwap ? action.value : value;
      if (isOpen) return { isPossible: isSwap, next };
      if (action.saw.kind === "swapped") return { isPossible: isSwap, next };
      return { isPossible: !isSwap && action.saw.value === value, next };
    }
    default:
      return unreachable(action);
  }
}

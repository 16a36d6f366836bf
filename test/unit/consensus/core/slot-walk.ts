// Owns: a walk through every reachable state of one slot with three voters and two values, from the proposals to the
// states of phase 2. The moves are those of the real Slot. Messages are sets that only grow, of which a voter has seen
// any part, in any number of copies: that covers loss, repetition, reordering, delay, and restarts with durable
// ballots. A voter that proposes nothing is one in doubt. Coins are free: each voter may toss either side each time.
import type { NodeUid } from "../../../../src/base/ids.ts";
import {
  type Ballot,
  NULL_OUTCOME,
  type Outcome,
  UNSURE,
  type Value,
  type VoteChoice,
  valueOf,
} from "../../../../src/consensus/core/message.ts";
import { Slot } from "../../../../src/consensus/core/slot.ts";
import type { PlantedFault } from "../../../../src/consensus/observer.ts";

export interface WalkResult {
  readonly states: number;
  readonly decisions: ReadonlySet<string>;
  /** The first broken invariant: label and state. */
  readonly violation: string | undefined;
}

const VOTERS = 3;
const QUORUM = 2;

/** What one voter has said, packed: three bits per field, 0 = nothing yet. */
type Said = number;
const FIELDS = { proposal: 0, vote0: 3, state1: 6, vote1: 9, state2: 12 } as const;
type Field = keyof typeof FIELDS;
const ALL_FIELDS: readonly Field[] = ["proposal", "vote0", "state1", "vote1", "state2"];
const X = 1;
const Y = 2;
const NULL = 3;
const UNSURE_CODE = 4;
const CODES = [X, Y, NULL, UNSURE_CODE] as const;
const LETTERS = ["-", "x", "y", "0", "?"] as const;

const VALUES: readonly (Value | undefined)[] = [undefined, valueNamed("x"), valueNamed("y")];

interface World {
  readonly voters: readonly [Said, Said, Said];
  /** What somebody decided; 0 = nobody has. */
  readonly decided: number;
}

export function walkSlot(planted?: PlantedFault): WalkResult {
  const moves = new Moves(planted);
  const start: World = { voters: [0, 0, 0], decided: 0 };
  const seen = new Set([keyOf(start)]);
  const decisions = new Set<string>();
  const open = [start];
  for (let world = open.pop(); world !== undefined; world = open.pop()) {
    for (const next of successors(world, moves)) {
      const key = keyOf(next);
      if (seen.has(key)) continue;
      seen.add(key);
      const violation = next.decided < 0 ? "C5: two outcomes are decided" : findViolation(next);
      if (violation !== undefined) {
        return { states: seen.size, decisions, violation: `${violation} in ${describe(next)}` };
      }
      if (next.decided > 0) decisions.add(LETTERS[next.decided] ?? "");
      open.push(next);
    }
  }
  return { states: seen.size, decisions, violation: undefined };
}

/** One step of one voter, in all the ways it may take it. */
function* successors(world: World, moves: Moves): Generator<World> {
  for (let voter = 0; voter < VOTERS; voter++) {
    const own = world.voters[voter] ?? 0;
    const [a = 0, b = 0] = world.voters.filter((_, at) => at !== voter);
    const say = (field: Field, code: number): World => {
      const voters = [with_(own, field, code), a, b].sort((one, other) => one - other);
      return { voters: [voters[0] ?? 0, voters[1] ?? 0, voters[2] ?? 0], decided: world.decided };
    };
    if (get(own, "proposal") === 0) for (const code of [X, Y]) yield say("proposal", code);
    for (const { field, code } of movesIn(moves.of(own, a, b))) {
      if (field !== "decide") yield say(field, code);
      else yield { ...world, decided: world.decided === 0 || world.decided === code ? code : -1 };
    }
  }
}

/** What the real Slot does, for everything that a voter may have seen of the two others. */
class Moves {
  private readonly planted: PlantedFault | undefined;
  private readonly known = new Map<number, number>();

  constructor(planted: PlantedFault | undefined) {
    this.planted = planted;
  }

  /** A set of moves, one bit each: of this view and of every one that has seen less. */
  of(own: Said, a: Said, b: Said): number {
    if (a > b) return this.of(own, b, a);
    const key = (own * 0x8000 + a) * 0x8000 + b;
    const known = this.known.get(key);
    if (known !== undefined) return known;
    let moves = this.ask(own, a, b);
    for (const field of ALL_FIELDS) {
      if (get(a, field) !== 0) moves |= this.of(own, with_(a, field, 0), b);
      if (get(b, field) !== 0) moves |= this.of(own, a, with_(b, field, 0));
    }
    this.known.set(key, moves);
    return moves;
  }

  private ask(own: Said, a: Said, b: Said): number {
    // Only who has voted in phase 1 tosses a coin before the walk ends.
    const coins = get(own, "vote1") === 0 ? ([0] as const) : ([0, 1] as const);
    let moves = 0;
    for (const coin of coins) {
      const slot = this.build(coin, own);
      hear(slot, 1, a);
      hear(slot, 2, b);
      moves |= bitsOf(slot);
      // All of it once more.
      hear(slot, 1, a);
      hear(slot, 2, b);
      moves |= bitsOf(slot);
    }
    return moves;
  }

  private build(coin: 0 | 1, own: Said): Slot {
    const quorum = this.planted === "quorum-minus-one" ? QUORUM - 1 : QUORUM;
    const rules = { voterCount: VOTERS, self: 0, quorum, coin: () => coin, planted: this.planted };
    const slot = new Slot(7, rules, false, { firstSeenMs: 0, patienceAtMs: 0, resendAtMs: 0, resendDelayMs: 0 });
    const proposal = VALUES[get(own, "proposal")];
    if (proposal !== undefined) slot.countProposal(0, proposal);
    for (const ballot of ballotsOf(own)) slot.restore(ballot);
    return slot;
  }
}

function hear(slot: Slot, voter: number, said: Said): void {
  const proposal = VALUES[get(said, "proposal")];
  if (proposal !== undefined) slot.countProposal(voter, proposal);
  for (const ballot of ballotsOf(said)) slot.countBallot(voter, ballot);
}

function bitsOf(slot: Slot): number {
  const unsure = slot.unsureVote();
  let bits = unsure === undefined ? 0 : bitOf("vote0", UNSURE_CODE);
  const move = slot.nextMove();
  if (move.kind === "decide") bits |= bitOf("decide", codeOf(move.outcome));
  if (move.kind === "cast") {
    const { kind, phase, choice } = move.ballot;
    const field = `${kind}${phase}`;
    if (isField(field)) bits |= bitOf(field, codeOf(choice));
  }
  return bits;
}

const MOVE_FIELDS = ["vote0", "state1", "vote1", "state2", "decide"] as const;
type MoveField = (typeof MOVE_FIELDS)[number];

function bitOf(field: MoveField, code: number): number {
  return 1 << (MOVE_FIELDS.indexOf(field) * CODES.length + code - 1);
}

function* movesIn(bits: number): Generator<{ readonly field: MoveField; readonly code: number }> {
  for (const field of MOVE_FIELDS) {
    for (const code of CODES) if ((bits & bitOf(field, code)) !== 0) yield { field, code };
  }
}

function findViolation({ voters, decided }: World): string | undefined {
  const count = (field: Field, code: number): number => voters.filter((said) => get(said, field) === code).length;
  for (const [vote, source, phase] of [["vote0", "proposal", 0], ["vote1", "state1", 1]] as const) {
    const firm = [X, Y, NULL].filter((code) => count(vote, code) > 0);
    if (firm.length > 1) return `C2: two values in the votes of phase ${phase}`;
    if (firm.some((code) => count(source, code) < QUORUM)) return `C3: a Vote(${phase}) without its quorum`;
    const locked = firm.find((code) => count(vote, code) >= QUORUM);
    const later = phase === 0 ? (["state1", "state2"] as const) : (["state2"] as const);
    if (locked === undefined) continue;
    const strays = later.some((field) => voters.some((said) => get(said, field) !== 0 && get(said, field) !== locked));
    if (strays) return `C4: a State against a quorum of Votes(${phase})`;
  }
  const isProposed = (decided !== X && decided !== Y) || count("proposal", decided) >= QUORUM;
  return isProposed ? undefined : "C5: a value is decided that no quorum proposed";
}

function* ballotsOf(said: Said): Generator<Ballot> {
  const vote0 = get(said, "vote0");
  const state1 = get(said, "state1");
  const vote1 = get(said, "vote1");
  const state2 = get(said, "state2");
  if (vote0 !== 0) yield { kind: "vote", slot: 7, phase: 0, choice: choiceOf(vote0) };
  if (state1 !== 0) yield { kind: "state", slot: 7, phase: 1, choice: outcomeOf(state1) };
  if (vote1 !== 0) yield { kind: "vote", slot: 7, phase: 1, choice: choiceOf(vote1) };
  if (state2 !== 0) yield { kind: "state", slot: 7, phase: 2, choice: outcomeOf(state2) };
}

function choiceOf(code: number): VoteChoice {
  return code === UNSURE_CODE ? UNSURE : outcomeOf(code);
}

function outcomeOf(code: number): Outcome {
  return VALUES[code] ?? NULL_OUTCOME;
}

function codeOf(choice: VoteChoice): number {
  if (choice === UNSURE) return UNSURE_CODE;
  return choice === NULL_OUTCOME ? NULL : VALUES.findIndex((value) => value?.key === choice.key);
}

function get(said: Said, field: Field): number {
  return (said >> FIELDS[field]) & 7;
}

function with_(said: Said, field: Field, code: number): Said {
  return (said & ~(7 << FIELDS[field])) | (code << FIELDS[field]);
}

function isField(text: string): text is MoveField {
  return MOVE_FIELDS.some((field) => field === text);
}

function keyOf({ voters: [a, b, c], decided }: World): number {
  // 15 bits each, and three for the decision: fits a double exactly.
  return (((decided + 1) * 0x8000 + a) * 0x8000 + b) * 0x8000 + c;
}

function describe({ voters, decided }: World): string {
  const said = voters.map((one) => ALL_FIELDS.map((field) => LETTERS[get(one, field)]).join(""));
  return `${said.join(" ")}, decided ${LETTERS[decided] ?? "twice"} (each: P V0 S1 V1 S2)`;
}

function valueNamed(name: string): Value {
  return valueOf([{ origin: name as NodeUid, incarnation: 1, sequence: 1 }]);
}

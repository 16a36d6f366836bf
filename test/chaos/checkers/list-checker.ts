// Owns: lists that clients only append to, each item unique: is there one order of everything that agrees with real
// time? The final list gives the order of the appends, so no search is needed.

export type ListOperation = {
  readonly called: number;
} & (
  | { readonly kind: "read"; readonly returned: number; readonly items: readonly string[] }
  | { readonly kind: "append"; readonly item: string; readonly outcome: AppendOutcome }
);

export type AppendOutcome =
  | { readonly kind: "ok"; readonly returned: number }
  /** Promised to have had no effect. */
  | { readonly kind: "failed" }
  | { readonly kind: "unknown" };

/** What an answered operation says of the list's length, and when that was so. */
interface Fact {
  readonly called: number;
  readonly returned: number;
  /** The list was at least so long when it returned. */
  readonly lengthAfter: number;
  /** It was no longer than that just before: a read at its own length, an append one item earlier. */
  readonly lengthBefore: number;
  readonly text: string;
}

/** What is wrong with the operations on one list, given what is in it at the end. */
export function checkList(operations: readonly ListOperation[], final: readonly string[]): readonly string[] {
  const position = new Map(final.map((item, index) => [item, index]));
  const wrong: string[] = [];
  if (position.size !== final.length) wrong.push("an item is in the list twice");
  const facts = operations.flatMap((operation): Fact[] => {
    const found = factOf(operation, position, final);
    if (typeof found === "string") wrong.push(found);
    return typeof found === "object" ? [found] : [];
  });
  return [...wrong, ...orderViolations(facts)];
}

function factOf(
  operation: ListOperation,
  position: ReadonlyMap<string, number>,
  final: readonly string[],
): Fact | string | undefined {
  const { called } = operation;
  if (operation.kind === "read") {
    const { items, returned } = operation;
    const text = `the read at ${called} that saw ${items.length} items`;
    if (items.some((item, index) => final[index] !== item)) return `${text} saw what is no beginning of the final list`;
    return { called, returned, lengthAfter: items.length, lengthBefore: items.length, text };
  }
  const { item, outcome } = operation;
  const at = position.get(item);
  if (outcome.kind === "failed") return at === undefined ? undefined : `${item} was refused and is in the list`;
  if (outcome.kind === "unknown") return undefined;
  if (at === undefined) return `${item} was acknowledged and is not in the list`;
  return { called, returned: outcome.returned, lengthAfter: at + 1, lengthBefore: at, text: `the append of ${item}` };
}

/** Whatever began after something had returned must see a list at least as long. */
function orderViolations(facts: readonly Fact[]): readonly string[] {
  const byReturn = [...facts].sort((a, b) => a.returned - b.returned);
  const wrong: string[] = [];
  let longest: Fact | undefined;
  let next = 0;
  for (const fact of [...facts].sort((a, b) => a.called - b.called)) {
    for (let earlier = byReturn[next]; earlier !== undefined && earlier.returned < fact.called; ) {
      if (longest === undefined || earlier.lengthAfter > longest.lengthAfter) longest = earlier;
      next += 1;
      earlier = byReturn[next];
    }
    if (longest !== undefined && fact.lengthBefore < longest.lengthAfter) {
      wrong.push(`${fact.text} came after ${longest.text} and does not see it`);
    }
  }
  return wrong;
}

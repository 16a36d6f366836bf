// Owns: what the rows of blueprints say has happened: applied, gone back, scaled, deleted.
import { sha256 } from "../../../base/digest.ts";
import type { Digest } from "../../../base/ids.ts";
import { prefixOf } from "../../../kvstore/core/key.ts";
import {
  parseCurrentBlueprint, parseResolvedBlueprint, type ResolvedBlueprint,
} from "../../../slices/core/blueprint.ts";
import type { EventDraft } from "./event.ts";
import { eventRule, type OtherRows } from "./event-rule.ts";

/** What is kept of a revision. */
interface Revision {
  readonly kind: "revision";
  readonly revision: number;
  /** The instances wanted of each slice. */
  readonly instances: ReadonlyMap<string, number>;
  /** Of all that it wants. */
  readonly digest: Digest;
}

type BlueprintValue = Revision | { readonly kind: "current"; readonly revision: number };

/** How far back an earlier revision is looked for that wants the same. */
const REVISIONS_LOOKED_AT_MAX = 32;

export const BLUEPRINT_EVENTS = eventRule<BlueprintValue>({
  prefix: prefixOf({ kind: "blueprints" }),
  keepsRows: true,
  read: (key, value) => {
    if (key.kind === "blueprint") return summaryOf(parseResolvedBlueprint(value));
    return key.kind === "blueprint-current" ? { kind: "current", ...parseCurrentBlueprint(value) } : undefined;
  },
  derive: ({ key, before, after }, rows) => {
    if (key.kind !== "blueprint-current" || before?.revision === after?.revision) return [];
    const blueprint = key.name;
    if (after === undefined) return [{ kind: "blueprint.deleted", fields: { blueprint } }];
    const now = revisionOf(blueprint, after.revision, rows.after);
    if (now === undefined) return [];
    const then = before === undefined ? undefined : revisionOf(blueprint, before.revision, rows.before);
    return [appliedEvent(blueprint, now, before?.revision, rows), ...scaledEvents(blueprint, then, now)];
  },
});

function summaryOf({ revision, slices }: ResolvedBlueprint): Revision {
  const names = Object.keys(slices).sort();
  return {
    kind: "revision",
    revision,
    instances: new Map(names.map((name) => [name, slices[name]?.instances ?? 0])),
    digest: sha256(JSON.stringify(names.map((name) => [name, slices[name]]))),
  };
}

function appliedEvent(
  blueprint: string, now: Revision, before: number | undefined, rows: OtherRows<BlueprintValue>,
): EventDraft {
  const { revision, instances } = now;
  // What was wanted last is no way back.
  const last = (before ?? 0) - 1;
  for (let earlier = last; earlier > Math.max(0, last - REVISIONS_LOOKED_AT_MAX); earlier--) {
    const then = revisionOf(blueprint, earlier, rows.before);
    if (then?.digest !== now.digest) continue;
    return { kind: "blueprint.went-back", fields: { blueprint, revision, sameAs: earlier } };
  }
  return { kind: "blueprint.applied", fields: { blueprint, revision, slices: instances.size } };
}

function scaledEvents(blueprint: string, then: Revision | undefined, now: Revision): readonly EventDraft[] {
  return [...now.instances].flatMap(([slice, to]): readonly EventDraft[] => {
    const from = then?.instances.get(slice);
    if (from === undefined || from === to) return [];
    return [{ kind: "slice.scaled", fields: { slice, blueprint, from, to } }];
  });
}

function revisionOf(name: string, revision: number, look: OtherRows<BlueprintValue>["after"]): Revision | undefined {
  if (revision < 1) return undefined;
  const found = look({ kind: "blueprint", name, revision });
  return found?.kind === "revision" ? found : undefined;
}

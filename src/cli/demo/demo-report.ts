// Owns: what a run of the demo found, what of it had to hold, and the closing table.
import { table } from "../table.ts";
import { REPLACEMENT_MS_MAX, WRITE_GAP_MS_MAX } from "./demo-options.ts";

export interface DemoFindings {
  readonly seed: number;
  readonly formedMs: number;
  readonly activeMs: number;
  readonly victim: string;
  readonly victimRoles: readonly string[];
  readonly victimInstances: readonly string[];
  readonly readCalls: { readonly made: number; readonly failed: number; readonly retried: number };
  readonly writeCalls: { readonly made: number; readonly failed: number; readonly retried: number };
  readonly writesAcknowledged: number;
  readonly writesUnknown: number;
  readonly longestGapMs: number;
  /** Where the lost instances are now; undefined when they were not back in time. */
  readonly replacements: readonly string[] | undefined;
  readonly replacedMs: number | undefined;
  readonly returnedMs: number;
  /** Acknowledged writes that a node does not have, per node. */
  readonly missing: Readonly<Record<string, number>>;
}

export interface Verdict {
  readonly what: string;
  readonly found: string;
  /** Undefined: nothing was promised. */
  readonly isHeld: boolean | undefined;
}

export function judge(found: DemoFindings): readonly Verdict[] {
  const { readCalls, writeCalls, missing } = found;
  const lost = Object.values(missing).reduce((sum, count) => sum + count, 0);
  const roles = found.victimRoles.join(" and ") || "no role";
  const where = Object.entries(missing).map(([node, count]) => `${node} lacks ${count}`);
  return [
    { what: "time to form the cluster", found: seconds(found.formedMs), isHeld: undefined },
    { what: "time from apply to ACTIVE", found: seconds(found.activeMs), isHeld: undefined },
    {
      what: "killed with SIGKILL",
      found: `${found.victim} (${roles}), ran ${found.victimInstances.join(", ")}`,
      isHeld: found.victimInstances.length > 0,
    },
    {
      what: "read calls: made / failed / retried",
      found: `${readCalls.made} / ${readCalls.failed} / ${readCalls.retried}`,
      isHeld: readCalls.made > 0 && readCalls.failed === 0,
    },
    {
      what: "write calls: made / outcome unknown / retried",
      found: `${writeCalls.made} / ${writeCalls.failed} / ${writeCalls.retried}`,
      isHeld: undefined,
    },
    {
      what: "KV writes: acknowledged / outcome unknown",
      found: `${found.writesAcknowledged} / ${found.writesUnknown}`,
      isHeld: found.writesAcknowledged > 0,
    },
    {
      what: `longest gap between acknowledged writes around the kill (at most ${WRITE_GAP_MS_MAX} ms)`,
      found: `${Math.round(found.longestGapMs)} ms`,
      isHeld: found.longestGapMs <= WRITE_GAP_MS_MAX,
    },
    {
      what: `lost instances back after (at most ${seconds(REPLACEMENT_MS_MAX)})`,
      found: replacementText(found),
      isHeld: found.replacedMs !== undefined && found.replacedMs <= REPLACEMENT_MS_MAX,
    },
    { what: "killed node started again and ready after", found: seconds(found.returnedMs), isHeld: undefined },
    {
      what: "acknowledged writes missing on any node",
      found: lost === 0 ? "0" : where.join(", "),
      isHeld: lost === 0,
    },
  ];
}

export function reportText(verdicts: readonly Verdict[]): string {
  const mark = (isHeld: boolean | undefined): string => (isHeld === undefined ? "-" : isHeld ? "yes" : "NO");
  return table(
    ["HELD", "WHAT", "FOUND"],
    verdicts.map(({ what, found, isHeld }) => [mark(isHeld), what, found]),
  );
}

export function seconds(durationMs: number): string {
  return `${(durationMs / 1_000).toFixed(2)} s`;
}

function replacementText({ replacedMs, replacements }: DemoFindings): string {
  if (replacedMs === undefined || replacements === undefined) return "not back";
  return `${seconds(replacedMs)}: ${replacements.join(", ")}`;
}

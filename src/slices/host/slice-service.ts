// Owns: what people do with one slice that runs: reading what it says, changing how many instances there are.
// Does not own: what is kept of its lines (core/recent-lines.ts), the rows of its blueprint (blueprint-store.ts).
import { AetherError } from "../../base/errors.ts";
import type { CallOptions } from "../../env/env.ts";
import { INSTANCES_MAX } from "../../sdk/blueprint.ts";
import { nameSchema } from "../../sdk/name.ts";
import { unavailableMax } from "../../sdk/rollout.ts";
import type { BlueprintStore } from "../blueprints/blueprint-store.ts";
import type { ResolvedBlueprint } from "../core/blueprint.ts";
import type { LinesPage, LinesQuery } from "../core/recent-lines.ts";
import type { ClusterLines, ClusterLog } from "./cluster-log.ts";

export interface SliceServicePorts {
  readonly blueprints: Pick<BlueprintStore, "ownerOf" | "change" | "unscale">;
  /** What this node keeps; undefined when nothing of that slice. */
  readonly readLines: (slice: string, query: LinesQuery) => LinesPage | undefined;
  readonly clusterLog: Pick<ClusterLog, "read">;
  /** Tells one life of this node from the next: numbers of lines begin anew with each. */
  readonly life: number;
}

export interface LogQuery {
  /** The latest so many lines, or fewer: an answer has 1 MiB at most. */
  readonly linesMax: number;
  /** `next` of an earlier answer: only what came since. What another life of the node gave counts as nothing seen. */
  readonly after?: string;
}

export interface SliceLog extends Pick<LinesPage, "lines" | "isComplete"> {
  readonly next: string;
}

export interface ScaledSlice {
  readonly slice: string;
  readonly instances: number;
  readonly minAvailable: number;
  readonly blueprint: string;
  readonly revision: number;
}

const CURSOR = /^(\d{1,15})-(\d{1,15})$/;

export class SliceService {
  private readonly ports: SliceServicePorts;

  constructor(ports: SliceServicePorts) {
    this.ports = ports;
  }

  /**
   * What the instances of a slice said on this node lately, also those that have ended.
   * @throws AetherError E_NOT_FOUND when nothing is kept of it and no blueprint has it
   */
  async log(slice: string, query: LogQuery, options: CallOptions = {}): Promise<SliceLog> {
    checkName(slice);
    const { life, readLines, blueprints } = this.ports;
    const after = query.after === undefined ? 0 : this.parseCursor(query.after);
    const page = readLines(slice, { after, linesMax: query.linesMax });
    if (page === undefined && (await blueprints.ownerOf(slice, options)) === undefined) throw unknownSlice(slice);
    const { lines = [], isComplete = true, last = after } = page ?? {};
    return { lines, isComplete, next: `${life}-${last}` };
  }

  /**
   * The same from all nodes, without those that do not answer.
   * @throws AetherError E_NOT_FOUND; E_OVERLOADED
   */
  async logOfAll(slice: string, linesMax: number, options: CallOptions = {}): Promise<Omit<ClusterLines, "isKnown">> {
    checkName(slice);
    const { clusterLog, blueprints } = this.ports;
    const { lines, silent, isKnown } = await clusterLog.read(slice, linesMax);
    if (!isKnown && (await blueprints.ownerOf(slice, options)) === undefined) throw unknownSlice(slice);
    return { lines, silent };
  }

  /**
   * Another number of instances, as a new revision of the slice's blueprint; everything else stays, `minAvailable`
   * too unless it would be more than there are instances, or than its rollouts may leave of them.
   * @throws AetherError E_INVALID, E_NOT_FOUND
   */
  async scale(slice: string, instances: number, options: CallOptions = {}): Promise<ScaledSlice> {
    checkName(slice);
    checkInstances(slice, instances);
    const blueprint = await this.ports.blueprints.ownerOf(slice, options);
    if (blueprint === undefined) throw unknownSlice(slice);
    let minAvailable = 0;
    const edit = (slices: ResolvedBlueprint["slices"]): ResolvedBlueprint["slices"] => {
      const found = slices[slice];
      if (found === undefined) throw unknownSlice(slice);
      minAvailable = Math.min(found.minAvailable, Math.max(0, instances - unavailableMax(found.rollout, instances)));
      return { ...slices, [slice]: { ...found, instances, minAvailable } };
    };
    const { revision } = await this.ports.blueprints.change(blueprint, edit, options);
    // Where the blueprint says this number already, what control made of it would stay.
    await this.ports.blueprints.unscale(slice, options);
    return { slice, instances, minAvailable, blueprint, revision };
  }

  private parseCursor(text: string): number {
    const [, life, number] = CURSOR.exec(text) ?? [];
    if (number !== undefined) return Number(life) === this.ports.life ? Number(number) : 0;
    throw new AetherError("E_INVALID", `"${text}" is not where a log goes on: use "next" of an earlier answer`);
  }
}

function checkName(slice: string): void {
  if (!nameSchema.safeParse(slice).success) throw unknownSlice(slice);
}

function checkInstances(slice: string, instances: number): void {
  if (Number.isInteger(instances) && instances >= 0 && instances <= INSTANCES_MAX) return;
  const message = `the slice "${slice}" cannot have ${instances} instances: use 0 to ${INSTANCES_MAX}`;
  throw new AetherError("E_INVALID", message, { details: { limit: INSTANCES_MAX, actual: instances } });
}

function unknownSlice(slice: string): AetherError {
  return new AetherError("E_NOT_FOUND", `no blueprint has a slice "${slice}"`, { details: { slice } });
}

// Owns: slices that a test defines itself, to stand for a part of the world or to try something out.
import { sha256 } from "../base/digest.ts";
import { AetherError } from "../base/errors.ts";
import { parseArtifactId } from "../base/ids.ts";
import type { Slice } from "../sdk/slice.ts";
import { describeSlice } from "../slices/build/describe-slice.ts";
import { encodeArchive } from "../slices/core/archive.ts";
import { MANIFEST_FORMAT, type Manifest } from "../slices/core/manifest.ts";
import type { AnyAgent } from "./test-agents.ts";
import type { TestSlice } from "./test-slice.ts";

/** The time of the world that an inline slice runs in. */
export interface InstanceTime {
  /** Milliseconds that only grow. */
  nowMs(): number;
  /** Resolves after so many milliseconds of virtual time. */
  sleep(delayMs: number): Promise<void>;
}

/** A slice of whatever contract, or an agent, which is a slice without methods. */
export type AnySlice = Pick<Slice, "kind" | "contract"> | AnyAgent;

export interface InlineSliceOptions {
  /** Its coordinates, `group:name:version`. */
  readonly artifact: string;
  /**
   * Makes the slice of one instance; what it declares inside is that instance's own state. Called once more to read
   * the contract. `setTimeout` and `Date` are the real ones here: use `time`.
   */
  readonly create: (time: InstanceTime) => AnySlice;
}

/**
 * Defines a slice for test clusters without a package of its own.
 * @throws AetherError E_INVALID when it is not a slice.
 * @example
 * const payments = inlineSlice({
 *   artifact: "test:payments:1.0.0",
 *   create: ({ sleep }) => defineSlice({
 *     contract: paymentsContract,
 *     methods: { charge: async () => { await sleep(30); return { isPaid: true }; } },
 *   }),
 * });
 */
export function inlineSlice({ artifact, create }: InlineSliceOptions): TestSlice {
  // Nothing can tell two inline slices apart by their code: their coordinates must.
  const bundle = new TextEncoder().encode(`// ${artifact} is defined by a test\n`);
  return {
    artifact,
    archive: encodeArchive(manifestOf(artifact, create(NO_TIME), bundle), bundle),
    evaluate: ({ clock }) => ({
      default: create({ nowMs: () => clock.nowMs(), sleep: (delayMs) => clock.sleep(delayMs) }),
    }),
  };
}

/** For the call that only reads the contract. */
const NO_TIME: InstanceTime = { nowMs: () => 0, sleep: () => new Promise(() => undefined) };

function manifestOf(artifact: string, slice: AnySlice, bundle: Uint8Array): Manifest {
  const described = describeSlice(slice);
  if (described.kind === "refused") {
    throw new AetherError("E_INVALID", `${artifact} is not a slice: ${described.reason}`);
  }
  const { uses, ...description } = described.description;
  return {
    format: MANIFEST_FORMAT,
    artifact: parseArtifactId(artifact),
    ...description,
    uses: Object.fromEntries(Object.entries(uses).map(([alias, used]) => [alias, { slice: used }])),
    digest: sha256(bundle),
    bundleBytes: bundle.byteLength,
  };
}

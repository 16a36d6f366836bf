// Owns: manifests and archives made by hand, for tests that need no built slice.
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId } from "../../../src/base/ids.ts";
import { encodeArchive } from "../../../src/slices/core/archive.ts";
import type { JsonSchema, Manifest, ManifestUse } from "../../../src/slices/core/manifest.ts";

export interface Sample {
  readonly artifact: string;
  /** Default: the artifact's name. */
  readonly slice?: string;
  readonly uses?: Readonly<Record<string, ManifestUse>>;
  readonly loadAfter?: readonly string[];
  readonly routes?: Readonly<Record<string, string>>;
  readonly on?: Readonly<Record<string, string>>;
  readonly config?: JsonSchema;
  readonly sdkVersion?: string;
  readonly bundle?: Uint8Array;
}

export function sampleManifest(sample: Sample): Manifest {
  const artifact = parseArtifactId(sample.artifact);
  const bundle = sampleBundle(sample);
  // Handling a message is no reading.
  const effect = sample.on === undefined ? "read" : "write";
  return {
    format: 1,
    artifact,
    slice: sample.slice ?? artifact.split(":")[1] ?? "",
    methods: { ping: { effect, timeoutMs: 1_000, input: {}, output: { type: "string" } } },
    uses: sample.uses ?? {},
    ...(sample.loadAfter === undefined ? {} : { loadAfter: sample.loadAfter }),
    ...(sample.routes === undefined ? {} : { routes: sample.routes }),
    ...(sample.on === undefined ? {} : { on: sample.on }),
    ...(sample.config === undefined ? {} : { config: sample.config }),
    sdkVersion: sample.sdkVersion ?? "0.1.0",
    digest: sha256(bundle),
    bundleBytes: bundle.byteLength,
  };
}

export function sampleBundle(sample: Sample): Uint8Array {
  return sample.bundle ?? new TextEncoder().encode(`export default "${sample.artifact}";`);
}

export function sampleArchive(sample: Sample): Uint8Array {
  return encodeArchive(sampleManifest(sample), sampleBundle(sample));
}

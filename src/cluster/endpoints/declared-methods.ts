// Owns: which methods an artifact has by its manifest, read from the store once per artifact that runs.
// Does not own: manifests (slices/core/manifest.ts), which artifact a slice is to be (the blueprints).
import { z } from "zod";
import type { ArtifactId } from "../../base/ids.ts";
import { SECOND_MS } from "../../base/units.ts";
import { formatKey } from "../../kvstore/core/key.ts";
import type { Kv } from "../../kvstore/kv.ts";

const READ_TIMEOUT_MS = SECOND_MS;

/** All that is needed of the row of an artifact; the repository wrote and checked it. */
const rowSchema = z.object({ manifest: z.object({ methods: z.record(z.string(), z.unknown()) }) });

export class DeclaredMethods {
  private readonly kv: Pick<Kv, "get">;
  private readonly known = new Map<ArtifactId, readonly string[]>();

  constructor(kv: Pick<Kv, "get">) {
    this.kv = kv;
  }

  /** Sorted; undefined when the store cannot tell now. Never rejects. */
  async of(artifact: ArtifactId): Promise<readonly string[] | undefined> {
    const known = this.known.get(artifact);
    if (known !== undefined) return known;
    try {
      // Local is enough: this node has applied the blueprint that names it, so it has applied the artifact's row.
      const key = formatKey({ kind: "artifact", artifact });
      const { entry } = await this.kv.get(key, { consistency: "local", timeoutMs: READ_TIMEOUT_MS });
      const row = rowSchema.safeParse(entry?.value);
      if (!row.success) return undefined;
      const methods = Object.keys(row.data.manifest.methods).sort();
      this.known.set(artifact, methods);
      return methods;
    } catch {
      // ignored: the store is closing or elsewhere; the caller goes on without knowing
      return undefined;
    }
  }

  /** Forgets the artifacts that nobody runs any more. */
  keepOnly(artifacts: ReadonlySet<ArtifactId>): void {
    for (const artifact of this.known.keys()) if (!artifacts.has(artifact)) this.known.delete(artifact);
  }
}

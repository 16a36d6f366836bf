// Owns: building ONE slice package again and again: what has not changed since the last time is not done again.
// Does not own: which version the result gets.
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { isSameData } from "../core/canonical.ts";
import type { Manifest } from "../core/manifest.ts";
import { readManifest } from "./build-slice.ts";
import { openBundler, type Bundler } from "./bundle-adapter.ts";
import { openSlicePackage } from "./slice-package-adapter.ts";
import type { SlicePackage } from "./slice-package.ts";

export interface SliceDraft {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly bundle: Uint8Array;
  /** The files that the bundle was made of. */
  readonly inputs: readonly string[];
}

export class SliceBuilder {
  readonly directory: string;
  private readonly inspector: Uint8Array;
  private open: { readonly entry: string; readonly bundler: Bundler } | undefined;
  private last: { readonly slicePackage: SlicePackage; readonly manifest: Manifest } | undefined;

  constructor(directory: string, inspector: Uint8Array) {
    this.directory = directory;
    this.inspector = inspector;
  }

  /** @throws AetherError as buildSlice; `details.places` of E_INVALID says where the mistakes are */
  async build(signal?: AbortSignal): Promise<SliceDraft> {
    const slicePackage = await openSlicePackage(this.directory);
    const bundler = await this.bundlerOf(join(slicePackage.directory, slicePackage.main));
    const { bundle, inputs } = await bundler.rebuild();
    signal?.throwIfAborted();
    const manifest = await this.manifestOf(slicePackage, bundle, signal);
    return { directory: this.directory, manifest, bundle, inputs };
  }

  async close(): Promise<void> {
    await this.open?.bundler.close();
    this.open = undefined;
  }

  private async bundlerOf(entry: string): Promise<Bundler> {
    if (this.open?.entry !== entry) {
      await this.close();
      this.open = { entry, bundler: await openBundler(entry) };
    }
    return this.open.bundler;
  }

  /** Reading the contract means running the slice's code: not for the same code again. */
  private async manifestOf(slicePackage: SlicePackage, bundle: Uint8Array, signal?: AbortSignal): Promise<Manifest> {
    const { last } = this;
    const isSame = last?.manifest.digest === sha256(bundle) && isSameData(last.slicePackage, slicePackage);
    if (last !== undefined && isSame) return last.manifest;
    const manifest = await readManifest(slicePackage, { bundle, inspector: this.inspector }, signal);
    this.last = { slicePackage, manifest };
    return manifest;
  }
}

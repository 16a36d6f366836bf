// Owns: which versions of a cluster this build can work with. A feature that changes what is sent or stored is used
// only once the replicated version says that every node has it (docs/operations/upgrading.md).
import { AetherError } from "../../base/errors.ts";

/** The highest version of a cluster that this build can work with. */
export const CLUSTER_VERSION_MAX = 1;

/** Why a build that works with clusters up to `supported` cannot take part in one at `version`, and what to do. */
export function describeOldBuild(node: string, supported: number, version: number): string {
  return (
    `the build of ${node} works with clusters up to version ${supported}, and this one is at version ${version}: ` +
    `start ${node} with a build that does, as the other nodes run`
  );
}

/**
 * From the slot on that raised it, others may use what this build does not know: it must stop before the next one.
 * @throws AetherError E_VERSION
 */
export function checkSupported(version: number): void {
  if (version <= CLUSTER_VERSION_MAX) return;
  throw new AetherError("E_VERSION", describeOldBuild("this node", CLUSTER_VERSION_MAX, version));
}

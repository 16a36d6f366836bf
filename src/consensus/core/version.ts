// Owns: which versions of a cluster this build can work with. A feature that changes what is sent or stored is used
// only once the replicated version says that every node has it (docs/operations/upgrading.md).

/** The highest version of a cluster that this build can work with. */
export const CLUSTER_VERSION_MAX = 1;

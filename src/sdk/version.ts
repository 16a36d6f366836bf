// Owns: the version that a slice remembers having been built with.

/** The version of this package. */
export const SDK_VERSION = "0.1.0";

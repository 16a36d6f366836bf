// Owns: where this package has its own files.
// The same from sources (src/base), from modules as they were compiled (dist/base) and from bundles (dist/bundle): each
// is two levels below the package.
import { extname } from "node:path";
import { fileURLToPath } from "node:url";

/** The command line, as `npm run build` leaves it. */
export const PROGRAM = fileURLToPath(new URL("../../dist/bundle/cli.js", import.meta.url));

/** What workers begin with. Threads cannot load TypeScript, so these are of the build also when the rest is not. */
export const SLICE_WORKER = new URL("../../dist/bundle/slice-worker.js", import.meta.url);
export const AGENT_WORKER = new URL("../../dist/bundle/agent-worker.js", import.meta.url);

export const EXAMPLES = fileURLToPath(new URL("../../docs/examples/", import.meta.url));

/** The directory of the modules, one file each, that bundles are made of: sources, or what was compiled of them. */
export const MODULES = fileURLToPath(new URL("../", import.meta.url));
export const MODULE_EXTENSION = extname(fileURLToPath(import.meta.url));

// Owns: "imports go left only": which area may see which, and where the libraries that touch the world may appear.
import { posix } from "node:path";
import { type Finding, isSource, type TextFile } from "../project.ts";
import { type Import, importsOf, parseSyntax } from "../syntax.ts";

/** Left to right. An area sees itself and what stands before it. */
const AREAS = [
  ...["base", "env", "sdk"],
  ...["net", "storage"],
  ...["consensus", "kvstore"],
  "security",
  ...["slices", "cluster", "invocation"],
  ...["metrics", "control"],
  ...["services", "jobs", "alerts"],
  ...["api", "client", "cli", "dashboard"],
  "node",
  "testkit",
];

/** Areas that see less than everything to their left. */
const SEES_ONLY: Readonly<Record<string, readonly string[]>> = {
  sdk: ["base"],
  cli: ["base", "sdk", "client", "api"],
  dashboard: ["base", "sdk", "client", "api"],
};

/** Areas of which the doors know the types and nothing else: they talk to a node over the network. */
const TYPES_ONLY: Readonly<Record<string, readonly string[]>> = { cli: ["api"], dashboard: ["api"] };

/** Loaded when a command needs it, so that `aether kv get` does not pay for a whole node. */
const LOADED_ON_DEMAND: Readonly<Record<string, readonly string[]>> = {
  cli: ["src/node/", "src/slices/build/", "src/jobs/doors/exported-lines.ts", "src/control/play-recording.ts"],
};
/** What that answers: types cost nothing. */
const TYPES_OF_IT: Readonly<Record<string, readonly string[]>> = { cli: ["src/jobs/core/explain/"] };

const WORLD_LIBRARIES = new Set([
  ...["ws", "level", "classic-level", "abstract-level", "pino", "prom-client", "@hono/node-server"],
  ...["child_process", "cluster", "dgram", "dns", "fs", "fs/promises", "http", "http2", "https", "net", "readline"],
  ...["readline/promises", "tls", "worker_threads"],
]);

/** Beside `*-adapter.ts`: the roof, the command line, the HTTP server and the main of a worker thread. */
const WORLD_FILES = /^src\/(cli\/|node\/|api\/server\.ts$|slices\/worker-main\.ts$|.*-adapter\.ts$)/;

export function findImportsToTheRight(files: readonly TextFile[]): readonly Finding[] {
  return eachImport(files, (file, found) => {
    if (!found.specifier.startsWith(".")) return undefined;
    return objectionToArea(file.path, posix.join(posix.dirname(file.path), found.specifier), found);
  });
}

export function findWorldLibraries(files: readonly TextFile[]): readonly Finding[] {
  return eachImport(files.filter((file) => !WORLD_FILES.test(file.path)), (file, found) => {
    const library = found.specifier.replace(/^node:/, "");
    if (!WORLD_LIBRARIES.has(library)) return undefined;
    return `imports ${found.specifier}: libraries that touch the world appear only in files named *-adapter.ts`;
  });
}

function eachImport(
  files: readonly TextFile[],
  object: (file: TextFile, found: Import) => string | undefined,
): readonly Finding[] {
  return files.filter(isSource).flatMap((file) =>
    importsOf(parseSyntax(file)).flatMap((found) => {
      const message = object(file, found);
      return message === undefined ? [] : [{ path: file.path, line: found.line, message }];
    }),
  );
}

function objectionToArea(importer: string, target: string, found: Import): string | undefined {
  const from = areaOf(importer);
  const to = areaOf(target);
  if (from === undefined) return undefined; // A package entry such as src/index.ts is the roof of everything.
  if (!AREAS.includes(from)) return `"${from}" is not an area: add it to the import order or move the file`;
  if (to === undefined || !AREAS.includes(to)) return `imports ${target}, which is in no area`;
  if (from === to) return undefined;
  if (found.kind === "dynamic" && LOADED_ON_DEMAND[from]?.some((prefix) => target.startsWith(prefix))) return undefined;
  if (found.kind === "type" && TYPES_OF_IT[from]?.some((prefix) => target.startsWith(prefix))) return undefined;
  if (SEES_ONLY[from] !== undefined && !SEES_ONLY[from].includes(to)) {
    return `imports ${target}: ${from} sees only ${SEES_ONLY[from].join(", ")}`;
  }
  if (TYPES_ONLY[from]?.includes(to) === true && found.kind !== "type") {
    return `imports ${target}: ${from} sees only the types of ${to}`;
  }
  if (AREAS.indexOf(to) > AREAS.indexOf(from)) {
    return `imports ${target}: ${to} is to the right of ${from}; declare a port here and let src/node wire it`;
  }
  return undefined;
}

function areaOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1];
}

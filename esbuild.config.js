// Owns: what esbuild makes of the compiled modules and of the dashboard: dist/bundle and dist/dashboard.
import { createHash } from "node:crypto";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = import.meta.dirname;
const DASHBOARD = join(ROOT, "dist/dashboard");
const KIB = 1_024;

await buildPrograms();
await buildDashboard();

/**
 * What is started or imported, each in few files: Node.js takes longer to find and open many hundred modules than to
 * compile them. Made of the modules in dist, which stay: types are beside them, and slices are built of those of the
 * SDK. Packages stay outside, where their owners' fixes reach them.
 */
async function buildPrograms() {
  const outdir = join(ROOT, "dist/bundle");
  await rm(outdir, { recursive: true, force: true });
  const shared = {
    absWorkingDir: ROOT,
    outdir,
    bundle: true,
    packages: "external",
    format: "esm",
    platform: "node",
    target: "node20",
    charset: "utf8",
    sourcemap: true,
    sourcesContent: false,
    logLevel: "warning",
  };
  await build({
    ...shared,
    entryPoints: {
      "aether": "dist/index.js",
      "slice": "dist/sdk/index.js",
      "mcp": "dist/sdk/mcp/index.js",
      "testing": "dist/testkit/index.js",
      "cli": "dist/cli/main.js",
    },
    // One copy of everything, so that a class is the same whichever entry it came from. All in one directory:
    // src/base/package-files-adapter.ts finds the package from wherever esbuild puts it.
    splitting: true,
    chunkNames: "[name]-[hash]",
  });
  // Each worker is one file: it is ready sooner, and shares nothing with its node.
  await build({
    ...shared,
    entryPoints: {
      "slice-worker": "dist/slices/worker/worker-main.js",
      "agent-worker": "dist/jobs/worker/agent-main.js",
    },
  });
  await chmod(join(outdir, "cli.js"), 0o755);
}

async function buildDashboard() {
  const outputFiles = await bundleDashboard();
  const icon = await readFile(join(ROOT, "src/dashboard/icon.svg"));
  const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
  const script = nameOf(outputFiles, ".js");
  const style = nameOf(outputFiles, ".css");

  // Every path is below /v1, which no slice can have.
  const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Aether</title>
<link rel="icon" href="/v1/ui/${iconName}" type="image/svg+xml">
<link rel="stylesheet" href="/v1/ui/${style}">
<script type="module" src="/v1/ui/${script}"></script>
</head>
<body><noscript>The dashboard needs JavaScript. The same facts: aether cluster status, GET /v1/cluster</noscript></body>
</html>
`;
  await writeFile(join(DASHBOARD, iconName), icon);
  await writeFile(join(DASHBOARD, "index.html"), page);
  for (const { path, contents } of outputFiles) await writeFile(path, contents);

  const parts = [...outputFiles.map(({ contents }) => contents), icon, Buffer.from(page)];
  const kib = (bytes) => `${(bytes / KIB).toFixed(1)} KiB`;
  const raw = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const zipped = parts.reduce((sum, part) => sum + gzipSync(part).byteLength, 0);
  console.log(`dashboard: ${kib(raw)} in ${parts.length} files, ${kib(zipped)} with gzip`);
}

async function bundleDashboard() {
  await rm(DASHBOARD, { recursive: true, force: true });
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: [{ in: "src/dashboard/main.tsx", out: "dashboard" }],
    entryNames: "[name]-[hash]",
    outdir: DASHBOARD,
    tsconfig: "src/dashboard/tsconfig.json",
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    write: false,
  });
  await mkdir(DASHBOARD, { recursive: true });
  return result.outputFiles;
}

function nameOf(outputFiles, ending) {
  const { path } = outputFiles.find((file) => file.path.endsWith(ending));
  return path.slice(DASHBOARD.length + 1);
}

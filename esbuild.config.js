// Owns: the dashboard's bundle: from src/dashboard to a page and files named by their content in dist/dashboard.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = import.meta.dirname;
const OUT = join(ROOT, "dist/dashboard");
const KIB = 1_024;

const { outputFiles } = await bundle();
const icon = await readFile(join(ROOT, "src/dashboard/icon.svg"));
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
const script = nameOf(".js");
const style = nameOf(".css");

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
await writeFile(join(OUT, iconName), icon);
await writeFile(join(OUT, "index.html"), page);
for (const { path, contents } of outputFiles) await writeFile(path, contents);

const parts = [...outputFiles.map(({ contents }) => contents), icon, Buffer.from(page)];
const kib = (bytes) => `${(bytes / KIB).toFixed(1)} KiB`;
const raw = parts.reduce((sum, part) => sum + part.byteLength, 0);
const zipped = parts.reduce((sum, part) => sum + gzipSync(part).byteLength, 0);
console.log(`dashboard: ${kib(raw)} in ${parts.length} files, ${kib(zipped)} with gzip`);

async function bundle() {
  await rm(OUT, { recursive: true, force: true });
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: [{ in: "src/dashboard/main.tsx", out: "dashboard" }],
    entryNames: "[name]-[hash]",
    outdir: OUT,
    tsconfig: "src/dashboard/tsconfig.json",
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none",
    charset: "utf8",
    write: false,
  });
  await mkdir(OUT, { recursive: true });
  return result;
}

function nameOf(ending) {
  const { path } = outputFiles.find((file) => file.path.endsWith(ending));
  return path.slice(OUT.length + 1);
}

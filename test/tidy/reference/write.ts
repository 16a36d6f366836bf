// Owns: writing the generated pages (`npm run docs`). A tidy test fails while a page differs from its source.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { PROJECT_ROOT } from "../project.ts";
import { GENERATED_PAGES } from "./pages.ts";

for (const [path, render] of GENERATED_PAGES) {
  const target = join(PROJECT_ROOT, path);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, render());
  console.log(`wrote ${path}`);
}

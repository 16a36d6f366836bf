// Owns: building the small bad samples with which each rule proves that it finds something.
import type { Finding, TextFile } from "./project.ts";

export function plant(samples: Readonly<Record<string, string>>): readonly TextFile[] {
  return Object.entries(samples).map(([path, text]) => ({ path, text }));
}

/** `path:line` of each finding: enough to prove that the right place was found. */
export function placesOf(findings: readonly Finding[]): readonly string[] {
  return findings.map((finding) => `${finding.path}:${finding.line}`);
}

import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { listConfigFields } from "./reference/config-reference.ts";
import { findWrongLimits, LIMITS_PAGE } from "./rules/limits.ts";

const DEFAULTS = new Map(listConfigFields().map(({ path, schema }) => [path.join("."), schema.default]));

describe("the page of limits says what the code does", () => {
  test("in this project", () => {
    expect(describeFindings(findWrongLimits(readProject(), DEFAULTS))).toEqual([]);
  });

  test("has a row for every limit of the configuration", () => {
    const page = readProject().find(({ path }) => path === LIMITS_PAGE)?.text ?? "";
    const limits = [...DEFAULTS.keys()].filter((name) => name.endsWith("Max"));
    expect(limits.filter((name) => !page.includes(`[\`${name}\`]`))).toEqual([]);
  });

  const source = {
    "src/kv/limits.ts": `export const KEY_BYTES_MAX = 512;
      const VALUE_BYTES_MAX = 512 * KiB;
      const LANES = { bulk: { heldAboveBytes: 1 * MiB } } as const satisfies Record<string, unknown>;`,
  };
  const head = "| what | limit | beyond it | where |\n|---|---|---|---|\n";
  const link = (name: string): string => `[\`${name}\`](../src/kv/limits.ts)`;

  test.each([
    ["another number", `| key | 500 B | refused | ${link("KEY_BYTES_MAX")} |`],
    ["another unit", `| key | 512 KiB | refused | ${link("KEY_BYTES_MAX")} |`],
    ["a constant that is not there", `| key | 512 B | refused | ${link("KEY_BYTES")} |`],
    ["a number without its constant", `| key, value | 512 B, 512 KiB | refused | ${link("KEY_BYTES_MAX")} |`],
    ["a row without a constant", "| key | 512 B | refused | somewhere |"],
    ["another default", "| calls | 1 | refused | [`runtime.callsQueuedMax`](reference/config.md) |"],
  ])("finds %s", (_what, row) => {
    const findings = findWrongLimits(plant({ ...source, [LIMITS_PAGE]: `${head}${row}\n` }), DEFAULTS);
    expect(placesOf(findings)).toEqual([`${LIMITS_PAGE}:3`]);
  });

  test.each([
    `| key | 512 B | refused | ${link("KEY_BYTES_MAX")} |`,
    `| key, value | 512 B, 512 KiB | refused | ${link("KEY_BYTES_MAX")}, ${link("VALUE_BYTES_MAX")} |`,
    `| bulk | 1 MiB | waits | ${link("LANES.bulk.heldAboveBytes")} |`,
    "| calls | 1,000 | refused | [`runtime.callsQueuedMax`](reference/config.md#section-runtime) |",
  ])("accepts %s", (row) => {
    expect(findWrongLimits(plant({ ...source, [LIMITS_PAGE]: `${head}${row}\n` }), DEFAULTS)).toEqual([]);
  });
});

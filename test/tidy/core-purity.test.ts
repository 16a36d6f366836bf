import { describe, expect, test } from "vitest";
import { plant, placesOf } from "./planted.ts";
import { describeFindings, readProject } from "./project.ts";
import { findImpureCore } from "./rules/core-purity.ts";

const PATH = "src/consensus/core/slot.ts";

describe("core is pure", () => {
  test("in this project", () => {
    expect(describeFindings(findImpureCore(readProject()))).toEqual([]);
  });

  test.each([
    ["a Node module", 'import { createHash } from "node:crypto";'],
    ["a library with a world of its own", 'import pino from "pino";'],
    ["a driver of its own area", 'import { GroupDriver } from "../group-driver.ts";'],
    ["the type of a port to the world", 'import type { Env } from "../../env/env.ts";'],
    ["the date", "export const at = new Date();"],
    ["chance", "export const x = Math.random();"],
    ["a timer", "setTimeout(fire, 10);"],
    ["the console", 'console.log("x");'],
    ["the process", "export const dir = process.cwd();"],
    ["an async function", "export async function run(): Promise<void> {}"],
    ["an awaited value", "const x = await y;"],
    ["a promise made by hand", "export const x = Promise.resolve(1);"],
    ["an order that depends on the locale", "export const x = a.localeCompare(b);"],
  ])("finds %s", (_what, text) => {
    expect(placesOf(findImpureCore(plant({ [PATH]: `// Owns: a sample.\n${text}\n` })))).toEqual([`${PATH}:2`]);
  });

  test.each([
    ["base", 'import { assert } from "../../base/assert.ts";'],
    ["another core", 'import { Key } from "../../kvstore/core/key.ts";'],
    ["schemas", 'import { z } from "zod";'],
    ["the type of a port of its own area", 'import type { Group } from "../group.ts";'],
    ["a property that is called like a global", "export const x = row.process;"],
    ["a field that is called like a global", "export interface Row { readonly process: string }"],
    ["mathematics", "export const x = Math.floor(1.5);"],
  ])("accepts %s", (_what, text) => {
    expect(findImpureCore(plant({ [PATH]: text }))).toEqual([]);
  });

  test("outside of core all of this is somebody else's business", () => {
    expect(findImpureCore(plant({ "src/consensus/group-driver.ts": "setTimeout(fire, 10);" }))).toEqual([]);
  });
});

import { expect, test } from "vitest";
import { Cancellation } from "../../../src/base/cancellation.ts";

test("who listens hears it once, whoever took his listener back not at all, and the first reason stays", () => {
  const cancellation = new Cancellation();
  const heard: string[] = [];
  const left = (): void => void heard.push("left");
  cancellation.addEventListener("abort", () => heard.push("stayed"));
  cancellation.addEventListener("abort", left);
  cancellation.removeEventListener("abort", left);
  expect([cancellation.aborted, cancellation.reason]).toEqual([false, undefined]);
  cancellation.abort("first");
  cancellation.abort("second");
  expect([cancellation.aborted, cancellation.reason, heard]).toEqual([true, "first", ["stayed"]]);
});

test("its native signal says the same, whether it is asked for before or afterwards", () => {
  const early = new Cancellation();
  const { native } = early;
  expect(native.aborted).toBe(false);
  early.abort("over");
  const late = new Cancellation();
  late.abort("over");
  expect([native.aborted, native.reason, early.native === native]).toEqual([true, "over", true]);
  expect([late.native.aborted, late.native.reason]).toEqual([true, "over"]);
});

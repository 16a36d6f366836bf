import { expect, test } from "vitest";
import { FenceCell, FenceReader } from "../../../src/jobs/ownership/fence-cell.ts";

const WALL_MS = 1_700_000_000_000;

test("workers count the node's time on by the clock that threads share, whatever their machine's clock shows", () => {
  let threadsNowMs = 500;
  const cell = new FenceCell();
  const reader = new FenceReader(cell.shared, () => threadsNowMs);
  expect(reader.wallMs()).toBeUndefined();
  cell.setWall(WALL_MS, 500);
  threadsNowMs = 750.25;
  expect(reader.wallMs()).toBe(WALL_MS + 250);
  // The node knows better by now.
  cell.setWall(WALL_MS - 3_600_000, 750);
  expect(reader.wallMs()).toBe(WALL_MS - 3_600_000);
});

test("a worker may act until the time that its node has set, and under its number only", () => {
  let threadsNowMs = 500;
  const cell = new FenceCell();
  const reader = new FenceReader(cell.shared, () => threadsNowMs);
  expect(reader.mayAct(cell.number)).toBe(false);
  cell.extendUntil(600);
  expect([reader.mayAct(cell.number), reader.mayAct(cell.number + 1)]).toEqual([true, false]);
  threadsNowMs = 600;
  expect(reader.mayAct(cell.number)).toBe(false);
  cell.extendUntil(700);
  cell.replace();
  expect(reader.mayAct(cell.number)).toBe(false);
});

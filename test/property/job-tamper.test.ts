// A job that somebody has changed behind its owner's back: events or calls of tools that were flipped, dropped, put in
// or put in another order, in the store or in an exported file. The check names where it begins.
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { present } from "../../src/base/assert.ts";
import { EXPORT_BYTES_MAX } from "../../src/jobs/core/explain/export-line.ts";
import { parseKey, prefixOf } from "../../src/kvstore/core/key.ts";
import type { KvEntry, Op } from "../../src/kvstore/core/schema.ts";
import { refOf } from "../../src/jobs/core/ids.ts";
import { pageValue, parseJobPage } from "../../src/jobs/core/rows.ts";
import { parseToolRow } from "../../src/jobs/core/tools/tool-row.ts";
import { endedJob, EXPORTED, linesOf, verdictOf } from "../support/exported-job.ts";
import { createLocalKv, type LocalKv } from "../support/local-kv.ts";

const EVENTS = 15;

let local: LocalKv;
let lines: readonly string[];

beforeEach(async () => {
  local = await createLocalKv();
  await endedJob(local.kv);
  lines = await linesOf(local.kv);
});

afterEach(() => local.close());

function firstOf(changed: readonly string[]): number | undefined {
  const { problems } = verdictOf(changed);
  expect(problems.length).toBeGreaterThan(0);
  return problems[0]?.seq;
}

/** Line numbers of events; event 1 first. */
function eventLines(): readonly number[] {
  return lines.flatMap((line, at) => (line.startsWith('{"kind":"event"') ? [at] : []));
}

function at(index: number): string {
  return present(lines[index], "there is such a line");
}

async function rows(kind: "job-log" | "job-tools"): Promise<readonly KvEntry[]> {
  return (await local.kv.list({ prefix: prefixOf({ kind, ...refOf(EXPORTED), run: 1 }) })).entries;
}

async function write(...then: readonly Op[]): Promise<void> {
  await local.kv.transact({ compare: [], then, else: [] });
}

test("a job that nobody has touched is whole, in the store and in the file", () => {
  expect(verdictOf(lines)).toMatchObject({ job: EXPORTED, events: EVENTS, problems: [] });
  expect(eventLines()).toHaveLength(EVENTS);
});

test("in a file, the first event that was flipped, dropped, put in or moved is named", () => {
  const events = eventLines();
  const kind = fc.constantFrom("flip", "show", "drop", "twice", "swap", "foreign");
  fc.assert(fc.property(kind, fc.nat(EVENTS - 1), fc.nat(1_000), (how, index, where) => {
    const line = present(events[index], "there is such an event");
    const seq = index + 1;
    const changed = [...lines];
    if (how === "flip") {
      const bytes = Buffer.from(/"bytes":"([^"]+)"/.exec(at(line))?.[1] ?? "", "base64");
      bytes[where % bytes.length] = (bytes[where % bytes.length] ?? 0) ^ 1;
      changed[line] = at(line).replace(/"bytes":"[^"]+"/, `"bytes":"${bytes.toString("base64")}"`);
    }
    if (how === "show") changed[line] = at(line).replace(/"atMs":\d/, '"atMs":9');
    if (how === "drop") changed.splice(line, 1);
    if (how === "twice") changed.splice(line, 0, at(line));
    if (how === "foreign") changed[line] = at(present(events[(index + 1) % EVENTS], "there is another"));
    if (how === "swap") {
      const other = present(events[index === EVENTS - 1 ? index - 1 : index + 1], "there is another");
      [changed[line], changed[other]] = [at(other), at(line)];
    }
    const wanted = how === "swap" && index === EVENTS - 1 ? seq - 1 : seq;
    expect(firstOf(changed), `${how} ${seq}`).toBe(wanted);
  }), { numRuns: 300 });
});

test("in a file, a call that was flipped, dropped or exchanged is named by the event that made it so", () => {
  const tools = lines.flatMap((line, index) => (line.startsWith('{"kind":"tool"') ? [index] : []));
  expect(tools).toHaveLength(3);
  for (const index of tools) {
    const seq = Number(/"seq":(\d+)/.exec(at(index))?.[1]);
    expect(firstOf(lines.filter((_, line) => line !== index))).toBe(seq);
    expect(firstOf(lines.map((line, n) => (n === index ? line.replace('"once"', '"read"').replace('"pay"', '"buy"')
      .replace('"note"', '"vote"') : line)))).toBeLessThanOrEqual(seq);
  }
  const [first, second] = tools.map((index) => at(index));
  const swapped = lines.map((line) => (line === first ? `${second}` : line === second ? `${first}` : line));
  // Their order is that of their keys: the lines are others, and nothing else.
  expect(verdictOf(swapped).problems).toEqual([{ reason: expect.stringContaining("exported") as string }]);
});

test("in the store, no append that was changed, dropped, put in or moved is passed over", async () => {
  const pages = await rows("job-log");
  const placed = pages.map((entry) => {
    const key = parseKey(entry.key);
    return { ...entry, seq: key.kind === "job-page" ? key.seq : 0, page: parseJobPage(entry.value) };
  });
  const kind = fc.constantFrom("flip", "drop-page", "drop-event", "put-in", "reorder", "swap-pages");
  await fc.assert(fc.asyncProperty(kind, fc.nat(pages.length - 1), fc.nat(1_000), async (how, index, where) => {
    const found = present(placed[index], "there is such a page");
    const { key, seq, page: { prev, events } } = found;
    const other = present(placed[index + 1] ?? placed[index - 1], "there is another page");
    const restore = [found, other].map((entry): Op => ({ kind: "put", key: entry.key, value: entry.value }));
    const put = (changed: readonly Uint8Array[]): Promise<void> =>
      write({ kind: "put", key, value: pageValue({ prev, events: changed }) });
    const nth = where % events.length;
    if (how === "flip") {
      const bytes = Uint8Array.from(present(events[nth], "there is such an event"));
      bytes[where % bytes.length] = (bytes[where % bytes.length] ?? 0) ^ 4;
      await put(events.map((event, n) => (n === nth ? bytes : event)));
    }
    if (how === "drop-page") await write({ kind: "delete", key });
    if (how === "drop-event") {
      if (events.length === 1) await write({ kind: "delete", key });
      else await put(events.filter((_, n) => n !== nth));
    }
    if (how === "put-in") await put(events.flatMap((event, n) => (n === nth ? [event, event] : [event])));
    if (how === "reorder") await put(events.length === 1 ? [...events, ...events] : [...events].reverse());
    if (how === "swap-pages") {
      await write({ kind: "put", key, value: other.value }, { kind: "put", key: other.key, value: found.value });
    }
    const named = firstOf(await linesOf(local.kv));
    await write(...restore);
    // Links stand between appends: it is the first event of the one that is wrong, or of the one that it follows.
    const first = Math.min(seq, other.seq);
    const before = placed.filter((page) => page.seq < first).at(-1)?.seq ?? 1;
    expect(named, `${how} at ${seq}`).toBeGreaterThanOrEqual(before);
    expect(named, `${how} at ${seq}`).toBeLessThanOrEqual(seq + events.length);
  }), { numRuns: 150 });
  expect(verdictOf(await linesOf(local.kv)).problems).toEqual([]);
});

test("in the store, a call that was changed, dropped, put in or exchanged is named by its event", async () => {
  const tools = await rows("job-tools");
  const ledger = tools.map((entry) => ({ entry, row: parseToolRow(entry.value) }));
  const flips = [
    { state: "failed" }, { attempt: 7 }, { effect: "idempotent" }, { epoch: 3 }, { timeoutMs: 5 }, { seq: 2 },
    { canReconcile: true }, { externalId: "ch-2" }, { reason: "none" }, { tool: "buy" },
    { inputDigest: "a".repeat(64) },
  ];
  for (const { entry: { key, value }, row } of ledger) {
    for (const flip of flips) {
      await write({ kind: "put", key, value: { ...row, ...flip } });
      expect(firstOf(await linesOf(local.kv)), JSON.stringify(flip)).toBe(row.seq);
    }
    await write({ kind: "delete", key });
    expect(firstOf(await linesOf(local.kv))).toBe(row.seq);
    await write({ kind: "put", key, value });
  }
  const [first, second] = ledger;
  if (first === undefined || second === undefined) return expect.unreachable("there are several");
  await write(
    { kind: "put", key: first.entry.key, value: second.row }, { kind: "put", key: second.entry.key, value: first.row },
  );
  expect(firstOf(await linesOf(local.kv))).toBe(Math.min(first.row.seq, second.row.seq));
  await write(...ledger.map(({ entry: { key, value } }): Op => ({ kind: "put", key, value })));
  const put = first.entry.key.replace(/[0-9a-f]{64}$/, "b".repeat(64)) as typeof first.entry.key;
  await write({ kind: "put", key: put, value: { ...first.row, effectId: "b".repeat(64) } });
  expect(firstOf(await linesOf(local.kv))).toBe(first.row.seq);
});

test("what is no export of a job is refused with the reason, and its size does not matter", () => {
  for (const text of ["", "{}", "null", '{"kind":"end","lines":0,"digest":""}', at(1)]) {
    expect(() => verdictOf([text]), text).toThrow(expect.objectContaining({ code: "E_INVALID" }) as Error);
  }
  expect(() => verdictOf(lines.slice(0, -1))).toThrow(/cut off/);
  expect(() => verdictOf([...lines, at(1)])).toThrow(/after its end/);
  expect(() => verdictOf([at(0).replace('"format":2', '"format":3')])).toThrow(
    expect.objectContaining({ code: "E_VERSION" }) as Error,
  );
  // An array that says it has four thousand million members.
  const bomb = Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]).toString("base64");
  const bombed = lines.map((line) => line.replace(/"bytes":"[^"]+"/, `"bytes":"${bomb}"`));
  expect(verdictOf(bombed).problems.length).toBeGreaterThan(EVENTS);
  expect(EXPORT_BYTES_MAX).toBeGreaterThan(0);
});

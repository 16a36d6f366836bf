import { describe, expect, test } from "vitest";
import { callLimitOf, ratesOf } from "../../../../../src/jobs/core/flow/call-rates.ts";

const SEARCH = { name: "search", perSecond: 10, burst: 5 };

describe("tools", () => {
  test("of one name in two slices keep a rate each, whatever the other one says", () => {
    const [shop] = ratesOf({ rate: SEARCH }, { slice: "shop", models: {} });
    const [mail] = ratesOf({ rate: { ...SEARCH, perSecond: 1 } }, { slice: "mail", models: {} });
    expect(shop).toEqual({ rate: { ...SEARCH, name: "shop/search" }, count: 1, isEstimate: false });
    expect(mail).toEqual({ rate: { name: "mail/search", perSecond: 1, burst: 5 }, count: 1, isEstimate: false });
  });

  test("without a rate wait for nothing", () => {
    expect(ratesOf({}, { slice: "shop", models: {} })).toEqual([]);
  });
});

describe("models", () => {
  const model = { name: "judge-1", tokens: 700, limits: { requestsPerMinute: 60, tokensPerMinute: 6_000 } };

  test("take a request and the tokens that it may come to, of one bucket for all slices", () => {
    const rates = ratesOf({ model }, { slice: "shop", models: {} });
    expect(rates).toEqual(ratesOf({ model }, { slice: "mail", models: {} }));
    expect(rates).toEqual([
      { rate: { name: "model/judge-1/requests", perSecond: 1, burst: 6 }, count: 1, isEstimate: false },
      { rate: { name: "model/judge-1/tokens", perSecond: 100, burst: 6_000 }, count: 700, isEstimate: true },
    ]);
  });

  test("keep what the configuration says of them, and else what their definition says", () => {
    const models = { "judge-1": { tokensPerMinute: 600 }, "other": { requestsPerMinute: 1 } };
    const [requests, tokens] = ratesOf({ model }, { slice: "shop", models });
    expect([requests?.rate.perSecond, tokens?.rate.perSecond]).toEqual([1, 10]);
    expect(ratesOf({ model: { name: "free", tokens: 5 } }, { slice: "shop", models })).toEqual([]);
    expect(ratesOf({ model: { name: "constructor", tokens: 5 } }, { slice: "shop", models })).toEqual([]);
  });
});

describe("calls that may be under way at once", () => {
  test("are counted by tool and slice, or by model", () => {
    const where = { slice: "shop", models: {} };
    const limit = callLimitOf({ tool: "search", maxConcurrent: 3 }, where);
    expect(limit).toEqual({ scope: "call", name: "shop/search", max: 3 });
    expect(callLimitOf({ tool: "search" }, where)).toBeUndefined();
    const model = { name: "judge-1", tokens: 700, limits: { maxConcurrent: 2 } };
    expect(callLimitOf({ tool: "llm", model }, where)).toEqual({ scope: "call", name: "model/judge-1", max: 2 });
    expect(callLimitOf({ tool: "llm", model }, { ...where, models: { "judge-1": { maxConcurrent: 1 } } })?.max).toBe(1);
    expect(callLimitOf({ tool: "llm", model: { name: "constructor", tokens: 1 } }, where)).toBeUndefined();
  });
});

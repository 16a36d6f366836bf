import { expect, test } from "vitest";
import { sha256 } from "../../../../../src/base/digest.ts";
import {
  AccountFold, continuedAccount, openAccount, shortUnit, type Account,
} from "../../../../../src/jobs/core/budget/account.ts";
import { amountOf, budgetOf } from "../../../../../src/jobs/core/budget/amounts.ts";
import { costMaxOfRequest, costOfTokens } from "../../../../../src/jobs/worker/call-cost.ts";

const PIN = sha256("pin");

test("money is counted in whole millionths, and a cost is rounded up once", () => {
  expect(amountOf({ usd: 0.1 + 0.2 })).toEqual({ usdMicros: 300_000 });
  expect(budgetOf({ usdMicros: 1_050_000, steps: 2 })).toEqual({ usd: 1.05, steps: 2 });
  const price = { inputPerMillion: 0.15, outputPerMillion: 0.6 };
  expect(costOfTokens(price, { inputTokens: 1, outputTokens: 1 })).toEqual({ usdMicros: 1, tokens: 2 });
  expect(costOfTokens(price, { inputTokens: 1_000_000, outputTokens: 1_000_001 })).toEqual({
    usdMicros: 750_001, tokens: 2_000_001,
  });
  expect(costOfTokens(undefined, { inputTokens: 3, outputTokens: 4 })).toEqual({ tokens: 7 });
  const most = costMaxOfRequest(price, { messages: [{ role: "user", text: "ok?" }], maxTokens: 100 });
  expect(most.tokens).toBeGreaterThan(110);
});

test("what has no limit is never short, and a limit of nothing always", () => {
  const account = openAccount({ usdMicros: 0, steps: 1 });
  expect(shortUnit(account, { tokens: 1_000_000, steps: 1 })).toBeUndefined();
  expect(shortUnit(account, { usdMicros: 1 })).toBe("usdMicros");
  expect(shortUnit(account, { steps: 2 })).toBe("steps");
});

test("a run that continues begins with what the job has spent, and with what it never hears the end of", () => {
  const before: Account = { limit: { usdMicros: 9 }, reserved: { usdMicros: 2 }, spent: { usdMicros: 3 } };
  const { limit: budget, spent } = continuedAccount(before);
  const fold = new AccountFold();
  fold.add({ type: "job.created", agent: "a", pin: PIN, inputDigest: PIN, budget, spent });
  expect(fold.account).toEqual({ limit: { usdMicros: 9 }, reserved: {}, spent: { usdMicros: 5 } });
});

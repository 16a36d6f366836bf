// Owns: amounts and accounts as they are stored, as people write and read them.
import { z } from "zod";
import { MICROS_PER_USD, microsOf, type Budget } from "../../../sdk/budget.ts";
import { leftOf, UNITS, type Account, type Amount, type Unit } from "./account.ts";

const count = z.int().min(0);

export const amountSchema: z.ZodType<Amount> = z.strictObject({
  usdMicros: count.exactOptional(), tokens: count.exactOptional(), steps: count.exactOptional(),
});
export const accountSchema: z.ZodType<Account> =
  z.strictObject({ limit: amountSchema, reserved: amountSchema, spent: amountSchema });

/** Undefined for a budget that limits nothing. */
export function amountOf({ usd, tokens, steps }: Budget): Amount | undefined {
  const amount: Amount = {
    ...(usd !== undefined && { usdMicros: microsOf(usd) }),
    ...(tokens !== undefined && { tokens }),
    ...(steps !== undefined && { steps }),
  };
  return Object.keys(amount).length === 0 ? undefined : amount;
}

/** As people write it. */
export function budgetOf({ usdMicros, ...rest }: Amount): Budget {
  return { ...(usdMicros !== undefined && { usd: usdMicros / MICROS_PER_USD }), ...rest };
}

/** What is short for a call, and what helps. */
export function shortText(call: string, wanted: Amount, { account, unit }: {
  readonly account: Account; readonly unit: Unit;
}): string {
  const left = textOf(unit, leftOf(account, unit) ?? 0);
  const of = textOf(unit, account.limit[unit] ?? 0);
  return `${call} may take ${textOf(unit, wanted[unit] ?? 0)}, and ${left} of ${of} are left; aether job budget ` +
    `raises it with ${FLAGS[unit]}`;
}

const FLAGS: Readonly<Record<Unit, string>> = {
  usdMicros: "--add-usd", tokens: "--add-tokens", steps: "--add-steps",
};

function textOf(unit: Unit, amount: number): string {
  return unit === "usdMicros" ? `${amount / MICROS_PER_USD} USD` : `${amount} ${unit}`;
}

/** As people write it. */
export function unitName(unit: Unit): string {
  return unit === "usdMicros" ? "usd" : unit;
}

/** Units of an amount that the account has no limit for. */
export function unlimitedIn(limit: Amount, amount: Amount): readonly Unit[] {
  return UNITS.filter((unit) => amount[unit] !== undefined && limit[unit] === undefined);
}

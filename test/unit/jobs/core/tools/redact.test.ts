import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { redactText, redactValue, SECRET_LENGTH_MIN } from "../../../../../src/jobs/core/tools/redact.ts";

describe("what is redacted (JOB12)", () => {
  test("has each secret replaced by its name, also as part of a URL and in names of fields", () => {
    const secrets = { key: "a+b/c=12", other: "another-one" };
    expect(redactText("Bearer a+b/c=12, ?k=a%2Bb%2Fc%3D12 another-one", secrets))
      .toBe("Bearer [secret key], ?k=[secret key] [secret other]");
    const bytes = Uint8Array.of(1);
    expect(redactValue({ "a+b/c=12": [{ deep: "x another-one" }, 1, null, bytes] }, secrets))
      .toEqual({ "[secret key]": [{ deep: "x [secret other]" }, 1, null, bytes] });
  });

  test("is the same object when there is no secret", () => {
    const value = { a: [1] };
    expect(redactValue(value, {})).toBe(value);
  });

  test("has no secret of usable length in it, whatever it is", () => {
    const secret = fc.string({ minLength: SECRET_LENGTH_MIN, maxLength: 20 })
      .filter((text) => !"[secret key]".includes(text));
    fc.assert(fc.property(secret, fc.string(), fc.string(), (value, before, after) => {
      const clean = JSON.stringify(redactValue({ list: [before + value + after] }, { key: value }));
      expect(clean).toContain("[secret key]");
    }));
  });
});

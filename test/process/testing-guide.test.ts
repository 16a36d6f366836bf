// The guides to testing, followed in projects of their own.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GuideProject } from "./support/guide-project.ts";

describe("the guide to testing slices:", () => {
  let guide: GuideProject;
  beforeAll(async () => {
    guide = await GuideProject.open("docs/guides/testing-slices.md");
  });
  afterAll(() => guide.close());

  test("its test finds the lost update in the wrong slice, passes on the right one, and survives a crash", async () => {
    const { pageFiles } = guide;
    const wrong = pageFiles.findIndex(({ path }) => path === "booking/slice.ts");
    const right = pageFiles.findIndex(({ path }, index) => path === "booking/slice.ts" && index > wrong);
    expect(wrong).toBeGreaterThanOrEqual(0);
    expect(right).toBeGreaterThan(wrong);

    await guide.write(pageFiles.slice(0, right));
    const found = await guide.runTests("booking.test.ts");
    expect(found.output).toContain("to have a length of 10 but got 12");
    expect(found.exitCode).toBe(1);

    await guide.write(pageFiles.slice(right));
    const passed = await guide.runTests();
    expect(passed.output).toContain("2 passed");
    expect(passed.output).toContain("6 passed");
    expect(passed.exitCode).toBe(0);
  });

  test("its files compile against the types of the package", async () => {
    await guide.write(guide.pageFiles);
    expect(await guide.compile()).toEqual({ exitCode: 0, output: "" });
  });
});

describe("the guide to testing agents:", () => {
  let guide: GuideProject;
  beforeAll(async () => {
    guide = await GuideProject.open("docs/guides/testing-agents.md");
    await guide.write(guide.pageFiles);
  });
  afterAll(() => guide.close());

  test("its tests pass, but for that of the mail, which passes where effect ids are honoured", async () => {
    const passed = await guide.runTests("claims.test.ts");
    expect(passed.output).toContain("4 passed");
    expect(passed.exitCode).toBe(0);

    const found = await guide.runTests("everywhere.test.ts");
    const mails = 'mail {"about":"o-1"} happened 2 times instead of 1 when its node died before point 6';
    expect(found.output).toContain(mails);
    expect(found.output).not.toContain("refund {");
    expect(found.exitCode).toBe(1);

    const honoured = guide.pageFiles.filter(({ path }) => path === "everywhere.test.ts").map(({ path, text }) => ({
      path, text: text.replace("mockTool(mail, () => ({}))", "mockTool(mail, () => ({}), { honoursEffectIds: true })"),
    }));
    await guide.write(honoured);
    const right = await guide.runTests("everywhere.test.ts");
    expect(right.output).toContain("1 passed");
    expect(right.exitCode).toBe(0);
  });

  test("its files compile against the types of the package", async () => {
    expect(await guide.compile()).toEqual({ exitCode: 0, output: "" });
  });
});

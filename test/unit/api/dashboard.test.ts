import { afterEach, describe, expect, test } from "vitest";
import { ApiServer } from "../../../src/api/server.ts";
import { ApiConfig } from "../../../src/api/config.ts";
import type { StaticFiles } from "../../../src/api/static-files.ts";
import { createRealClock } from "../../../src/node/env-clock-adapter.ts";
import { parseRoute } from "../../../src/sdk/route.ts";
import { openApi, type ApiFixture, type ApiOptions } from "./api-fixture.ts";
import { createTestTelemetry } from "./test-telemetry.ts";

const FILES: StaticFiles = {
  page: { bytes: new TextEncoder().encode("<!doctype html><title>x</title>"), type: "text/html; charset=utf-8" },
  files: new Map([["a-1.js", { bytes: new TextEncoder().encode("1"), type: "text/javascript; charset=utf-8" }]]),
};

let open: { close(): Promise<void> } | undefined;

afterEach(async () => {
  await open?.close();
});

async function openWith(options: ApiOptions): Promise<ApiFixture> {
  const api = await openApi("n1", undefined, options);
  open = api;
  return api;
}

describe("the dashboard's page", () => {
  test("runs its own files only, and asks only nodes of its cluster on this machine (D2)", async () => {
    const api = await openWith({ files: FILES });
    api.others.push("http://127.0.0.1:7202/", "https://elsewhere.example", "http://127.0.0.1:7203; script-src *");
    const page = await fetch(`${api.url}/`);
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(page.headers.get("cache-control")).toBe("no-store");
    expect(page.headers.get("x-frame-options")).toBe("DENY");
    const policy = (page.headers.get("content-security-policy") ?? "").split("; ");
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain(`connect-src 'self' ${api.url} http://127.0.0.1:7202`);
    expect(policy.join()).not.toMatch(/elsewhere|script-src|unsafe|\*/);
  });

  test("has files that a browser keeps for ever, and none by another name", async () => {
    const api = await openWith({ files: FILES });
    const file = await fetch(`${api.url}/v1/ui/a-1.js`);
    expect(await file.text()).toBe("1");
    expect(file.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(file.headers.get("cache-control")).toMatch(/immutable/);
    expect(file.headers.get("x-content-type-options")).toBe("nosniff");
    for (const name of ["a-2.js", "..%2Findex.html", "index.html"]) {
      const missing = await fetch(`${api.url}/v1/ui/${name}`);
      expect([name, missing.status]).toEqual([name, 404]);
    }
  });

  test("has a path that no slice can declare, and files below one (D1)", () => {
    expect(() => parseRoute("GET /")).toThrow(expect.objectContaining({ code: "E_INVALID" }));
    expect(() => parseRoute("GET /v1/ui/:file")).toThrow(expect.objectContaining({ code: "E_INVALID" }));
  });

  test("is refused to a page from elsewhere, as everything is", async () => {
    const api = await openWith({ files: FILES });
    const answer = await fetch(`${api.url}/`, { headers: { origin: "https://elsewhere.example" } });
    expect(answer.status).toBe(403);
  });

  test("is there while its node is still starting", async () => {
    const env = { clock: createRealClock(), telemetry: createTestTelemetry([]) };
    const server = await ApiServer.open(env, ApiConfig.parse({ api: "http://127.0.0.1:0" }), FILES);
    open = server;
    expect((await fetch(`${server.url}/`)).status).toBe(200);
    expect((await fetch(`${server.url}/v1/ui/a-1.js`)).status).toBe(200);
    expect((await fetch(`${server.url}/v1/cluster`)).status).toBe(503);
  });

  test("without a build says what makes it", async () => {
    const api = await openWith({});
    const answer = await fetch(`${api.url}/`);
    expect(answer.status).toBe(404);
    expect(await answer.text()).toMatch(/npm run build/);
  });
});

describe("killing a node over its API", () => {
  async function kill(api: ApiFixture, node: string): Promise<readonly [status: number, code: unknown]> {
    const answer = await fetch(`${api.url}/v1/nodes/${node}/kill`, { method: "POST" });
    const body = await answer.json() as { readonly error?: { readonly code: string } };
    return [answer.status, body.error?.code];
  }

  test("is refused unless the node was started with that permission", async () => {
    const api = await openWith({});
    expect(await kill(api, "n1")).toEqual([403, "E_FORBIDDEN"]);
    expect(await (await fetch(`${api.url}/v1/cluster`)).json()).toMatchObject({ canBeKilled: false });
  });

  test("kills the node that is asked, and no other one", async () => {
    let kills = 0;
    const api = await openWith({ killSelf: () => (kills += 1) });
    expect(await kill(api, "n2")).toEqual([409, "E_CONFLICT"]);
    expect(kills).toBe(0);
    expect(await kill(api, "n1")).toEqual([202, undefined]);
    expect(kills).toBe(1);
    expect(await (await fetch(`${api.url}/v1/cluster`)).json()).toMatchObject({ canBeKilled: true });
  });
});

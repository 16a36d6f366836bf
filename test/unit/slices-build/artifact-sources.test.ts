// Real directories and a real web server; the cluster's side is the real repository on a local store.
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { sha256 } from "../../../src/base/digest.ts";
import { parseArtifactId, type Digest } from "../../../src/base/ids.ts";
import { MiB } from "../../../src/base/units.ts";
import { BlueprintStore } from "../../../src/slices/blueprints/blueprint-store.ts";
import { archiveNameOf, manifestNameOf } from "../../../src/sdk/archive-name.ts";
import { ArtifactRepository } from "../../../src/slices/artifacts/repository.ts";
import { ArtifactSources } from "../../../src/slices/sources/artifact-sources.ts";
import { openSources } from "../../../src/slices/sources/open-sources.ts";
import { formatSourceIndex } from "../../../src/slices/sources/source-index.ts";
import type { SourceConfig } from "../../../src/slices/sources/sources-config.ts";
import { createLocalKv, type LocalKv } from "../../support/local-kv.ts";
import { openWebServer } from "../../support/web-server.ts";
import { sampleArchive, sampleManifest, type Sample } from "./sample-artifacts.ts";

const TEA = parseArtifactId("test:tea:1.1.0");

let local: LocalKv;
let repository: ArtifactRepository;
let root: string;
let logged: unknown[];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "aether-sources-"));
  local = await createLocalKv();
  repository = new ArtifactRepository({ kv: local.kv, clock: { wallMs: () => 1_700_000_000_000 } });
  logged = [];
});
afterEach(async () => {
  await local.close();
  rmSync(root, { recursive: true, force: true });
});

function storeWith(...sources: readonly SourceConfig[]): BlueprintStore {
  const note = (line: unknown): void => void logged.push(line);
  const ports = { artifacts: repository, log: { info: note } };
  return new BlueprintStore({
    kv: local.kv, artifacts: repository, sources: new ArtifactSources(ports, openSources(sources)),
  });
}

/** What `slice build --out` and `slice index` leave in a directory. */
async function offer(directory: string, ...samples: readonly Sample[]): Promise<string> {
  const path = join(root, directory);
  await mkdir(path, { recursive: true });
  const digests = new Map<ReturnType<typeof parseArtifactId>, Digest>();
  for (const sample of samples) {
    const artifact = parseArtifactId(sample.artifact);
    const archive = sampleArchive(sample);
    digests.set(artifact, sha256(archive));
    await writeFile(join(path, archiveNameOf(artifact)), archive);
    await writeFile(join(path, manifestNameOf(artifact)), JSON.stringify(sampleManifest(sample)));
  }
  await writeFile(join(path, "index.json"), formatSourceIndex(digests));
  return path;
}

async function serve(listener: RequestListener): Promise<string> {
  const server = await openWebServer(listener);
  onTestFinished(() => server.close());
  return `${server.url}/slices`;
}

/** A plain web server over a directory, which notes what it is asked for. */
async function serveDirectory(path: string, asked: string[] = []): Promise<string> {
  return serve((request, response) => {
    const file = request.url?.replace("/slices/", "") ?? "";
    asked.push(`${file} ${request.headers.authorization ?? ""}`.trim());
    readFile(join(path, file)).then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    );
  });
}

const wanting = (artifact: string): unknown => ({ slices: { tea: { artifact, instances: 1 } } });
const held = async (): Promise<readonly string[]> => (await repository.list()).map(({ artifact }) => artifact);

describe("an artifact that the cluster does not hold", () => {
  test("is brought from a directory, verified, and is then the cluster's own", async () => {
    const directory = await offer("built", { artifact: "test:tea:1.0.0" }, { artifact: "test:tea:1.1.0" });
    const blueprints = storeWith({ directory });
    await blueprints.apply("shop", wanting("test:tea@^1.0.0"));
    expect((await blueprints.get("shop")).slices["tea"]?.artifact).toBe(TEA);
    expect(await held()).toEqual([TEA]);
    rmSync(directory, { recursive: true });
    expect((await repository.fetch(TEA)).manifest.artifact).toBe(TEA);
    expect(logged).toMatchObject([{ event: "artifact.brought", artifact: TEA, from: directory }]);
  });

  test("is brought from a web server by its index, with the token of a file", async () => {
    const asked: string[] = [];
    const url = await serveDirectory(await offer("public", { artifact: "test:tea:1.1.0" }), asked);
    const tokenFile = join(root, "token");
    await writeFile(tokenFile, "s3cret\n");
    await storeWith({ url, tokenFile }).apply("shop", wanting("test:tea@^1.0.0"));
    expect(await held()).toEqual([TEA]);
    expect(asked).toEqual([
      "index.json Bearer s3cret", "test.tea-1.1.0.manifest.json Bearer s3cret", "test.tea-1.1.0.slice Bearer s3cret",
    ]);
  });

  test("comes from the first source that has the newest version", async () => {
    const first = await offer("first", { artifact: "test:tea:1.0.0" });
    const second = await offer("second", { artifact: "test:tea:1.1.0" });
    const third = await offer("third", { artifact: "test:tea:1.1.0" });
    await storeWith({ directory: first }, { directory: second }, { directory: third })
      .apply("shop", wanting("test:tea@^1.0.0"));
    expect(logged).toMatchObject([{ artifact: TEA, from: second }]);
  });

  test("is named in the refusal when no source has it either", async () => {
    const blueprints = storeWith({ directory: await offer("built", { artifact: "test:milk:1.0.0" }) });
    await expect(blueprints.apply("shop", wanting("test:tea@^1.0.0"))).rejects.toMatchObject({ code: "E_INVALID" });
    expect(await held()).toEqual([]);
  });
});

describe("what the cluster holds", () => {
  test("is taken when no source has a newer one, and exact references ask nobody", async () => {
    const directory = await offer("built", { artifact: "test:tea:1.0.0" });
    await repository.push(sampleArchive({ artifact: "test:tea:1.1.0" }));
    const blueprints = storeWith({ directory });
    await blueprints.apply("shop", wanting("test:tea@^1.0.0"));
    expect((await blueprints.get("shop")).slices["tea"]?.artifact).toBe(TEA);
    await storeWith({ directory: join(root, "nowhere") }).apply("shop", wanting("test:tea:1.1.0"));
    expect(await held()).toEqual([TEA]);
  });

  test("is not taken for the newest while a source cannot be asked", async () => {
    await repository.push(sampleArchive({ artifact: "test:tea:1.1.0" }));
    const blueprints = storeWith({ directory: join(root, "nowhere") });
    await expect(blueprints.apply("shop", wanting("test:tea@^1.0.0"))).rejects.toMatchObject({
      code: "E_UNAVAILABLE",
      message: expect.stringMatching(/nowhere cannot be read: ENOENT.*name exact versions that are pushed/) as unknown,
    });
  });
});

test("of a blueprint that is refused nothing is brought", async () => {
  const directory = await offer("built", { artifact: "test:tea:1.1.0" });
  const document = { slices: {
    tea: { artifact: "test:tea@^1.0.0", instances: 1 }, milk: { artifact: "test:milk@^1.0.0", instances: 1 },
  } };
  await expect(storeWith({ directory }).apply("shop", document)).rejects.toMatchObject({ code: "E_INVALID" });
  expect(await held()).toEqual([]);
});

describe("a source that offers something else than it says", () => {
  test("what has no end, or is no file, is not read from a directory", async () => {
    const directory = await offer("built", { artifact: "test:tea:1.1.0" });
    const file = join(directory, "test.tea-1.1.0.slice");
    await rm(file);
    await symlink("/dev/zero", file);
    await expect(storeWith({ directory }).apply("shop", wanting("test:tea@^1.0.0"))).rejects.toMatchObject({
      code: "E_UNAVAILABLE", message: expect.stringMatching(/tea-1\.1\.0\.slice cannot be read: it is no file/) as unknown,
    });
  });

  test.each([
    ["an archive with another bundle", "test.tea-1.1.0.slice",
      sampleArchive({ artifact: "test:tea:1.1.0", bundle: new TextEncoder().encode("export default 1;") }),
      "E_DATA_CORRUPT", /not that of its archive/],
    ["another index than its archive", "index.json",
      formatSourceIndex(new Map([[TEA, sha256(Buffer.from("other"))]])), "E_DATA_CORRUPT", /does not have the sha-256/],
    ["garbage for an archive", "test.tea-1.1.0.slice", Buffer.from("garbage"), "E_DATA_CORRUPT", /not a slice archive/],
    ["the manifest of another artifact", "test.tea-1.1.0.manifest.json",
      JSON.stringify(sampleManifest({ artifact: "test:tea:1.2.0" })), "E_DATA_CORRUPT", /is that of test:tea:1\.2\.0/],
    ["a manifest that promises more than the archive", "test.tea-1.1.0.manifest.json",
      JSON.stringify(sampleManifest({ artifact: "test:tea:1.1.0", routes: { "GET /tea": "ping" } })),
      "E_DATA_CORRUPT", /not that of its archive/],
    ["no JSON", "test.tea-1.1.0.manifest.json", "{", "E_UNAVAILABLE", /manifest\.json cannot be read/],
    ["an index of something else", "index.json", "{\"artifacts\":{\"../../etc/passwd\":\"0\"}}", "E_UNAVAILABLE",
      /index\.json cannot be read/],
  ])("%s is refused, and nothing is written", async (_what, file, content, code, message) => {
    const path = await offer("public", { artifact: "test:tea:1.1.0" });
    await writeFile(join(path, file), content);
    const blueprints = storeWith({ url: await serveDirectory(path) });
    const applied = blueprints.apply("shop", wanting("test:tea@^1.0.0"));
    await expect(applied).rejects.toMatchObject({ code, message: expect.stringMatching(message) as unknown });
    expect(await held()).toEqual([]);
    expect(await blueprints.list()).toEqual([]);
  });

  test.each([
    ["sends elsewhere", (_request, response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end(),
      /answers 302 and not 200/],
    ["never stops", (_request, response) => {
      const chunk = Buffer.alloc(MiB);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on("drain", more).on("error", () => undefined);
      more();
    }, /it has more than 4194304 bytes/],
    ["hangs up", (request) => request.socket.destroy(), /cannot be read/],
  ] satisfies [string, RequestListener, RegExp][])("a web server that %s is an error", async (_, listener, text) => {
    const url = await serve(listener);
    await expect(storeWith({ url }).apply("shop", wanting("test:tea@^1.0.0"))).rejects.toMatchObject({
      code: "E_UNAVAILABLE", message: expect.stringMatching(text) as unknown,
    });
  });

  test.each([["two lines", "secret\nsecond"], ["another script", "secret\u4e2d"]])(
    "a token of %s, which no header can carry, is an error that does not tell it", async (_what, token) => {
      const tokenFile = join(root, "token");
      await writeFile(tokenFile, token);
      const url = await serve((_request, response) => response.end());
      const applied = storeWith({ url, tokenFile }).apply("shop", wanting("test:tea@^1.0.0"));
      const refusal = await applied.catch((error: unknown) => error);
      expect(refusal).toMatchObject({
        code: "E_UNAVAILABLE", message: expect.stringContaining(`${tokenFile} has no usable token`) as unknown,
      });
      expect(inspect(refusal, { depth: null })).not.toContain("secret");
    });

  test("a caller who gives up is answered at once", async () => {
    const giveUp = new AbortController();
    const url = await serve(() => giveUp.abort(new Error("enough")));
    const applied = storeWith({ url }).apply("shop", wanting("test:tea@^1.0.0"), { signal: giveUp.signal });
    await expect(applied).rejects.toThrow("enough");
  });
});

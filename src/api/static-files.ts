// Owns: answering with the dashboard's page and its files: types, caching, and what the page may do in a browser.
// D1  No path of a slice is taken: a slice cannot declare `/`, and everything else is below /v1.
// D2  The page runs only scripts of its own files, and talks only to nodes of its cluster.
import { isLoopbackUrl } from "./core/origin.ts";
import { AetherError } from "../base/errors.ts";
import type { Route } from "./route.ts";

export interface StaticFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type: string;
}

/** Without `page` there is no build of the dashboard. */
export interface StaticFiles {
  readonly page: StaticFile | undefined;
  /** By name; a name stands for its content for ever. */
  readonly files: ReadonlyMap<string, StaticFile>;
}

export const NO_FILES: StaticFiles = { page: undefined, files: new Map() };

const PAGE_PATH = "/";
const FILES_PATH = "/v1/ui/";

/** `addresses`: of the nodes that the page may go on with when this one is gone. */
export function staticRoutes(files: StaticFiles, addresses: () => readonly string[]): readonly Route[] {
  return [
    {
      method: "GET",
      path: PAGE_PATH,
      summary: "The dashboard",
      answer: "text/html",
      expectsMisses: true,
      handle: () => answerPage(files, addresses()),
    },
    {
      method: "GET",
      path: `${FILES_PATH}:file`,
      summary: "A file of the dashboard; its name changes with its content",
      answer: "the file",
      expectsMisses: true,
      handle: (request) => {
        const name = request.param("file");
        const file = files.files.get(name);
        if (file !== undefined) return answerFile(file);
        throw new AetherError("E_NOT_FOUND", `the dashboard of this node has no file "${name}": load the page anew`);
      },
    },
  ];
}

/** The same while the node has no routes yet: the page itself says how far the start is. */
export function findStatic(files: StaticFiles, path: string): Response | undefined {
  if (path === PAGE_PATH && files.page !== undefined) return answerPage(files, []);
  const file = path.startsWith(FILES_PATH) ? files.files.get(path.slice(FILES_PATH.length)) : undefined;
  return file && answerFile(file);
}

function answerPage({ page }: StaticFiles, addresses: readonly string[]): Response {
  if (page === undefined) {
    throw new AetherError("E_NOT_FOUND", "this build has no dashboard: `npm run build` makes it");
  }
  return answer(page, {
    // It names the files of one build: asked for again each time, and 304 costs as much as these few bytes.
    "cache-control": "no-store",
    "content-security-policy": contentPolicy(addresses),
    "x-frame-options": "DENY",
  });
}

function answerFile(file: StaticFile): Response {
  return answer(file, { "cache-control": "public, max-age=31536000, immutable" });
}

function answer({ bytes, type }: StaticFile, headers: Readonly<Record<string, string>>): Response {
  return new Response(bytes, {
    status: 200,
    headers: {
      "content-type": type,
      "content-length": String(bytes.byteLength),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      ...headers,
    },
  });
}

/** Other nodes may be asked whether they are there, which tells the page nothing else. Exported for its test. */
export function contentPolicy(addresses: readonly string[]): string {
  const origins = addresses.filter(isLoopbackUrl).map((address) => new URL(address).origin);
  return [
    "default-src 'self'",
    ["connect-src 'self'", ...new Set(origins)].join(" "),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "object-src 'none'",
  ].join("; ");
}

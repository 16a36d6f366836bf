// Owns: a web server with archives as a source. It is asked for nothing but files below its address: redirects are not
// followed, and every answer has a limit in bytes and time.
import { open } from "node:fs/promises";
import { AetherError } from "../../base/errors.ts";
import { ARCHIVE_BYTES_MAX } from "../core/archive.ts";
import { archiveNameOf, manifestNameOf } from "../../sdk/archive-name.ts";
import {
  INDEX_BYTES_MAX, MANIFEST_FILE_BYTES_MAX, SOURCE_MS_MAX, TOKEN_FILE_BYTES_MAX, type ArtifactSource,
} from "./artifact-source.ts";
import { checkBytes, readable } from "./source-error.ts";
import { INDEX_NAME, parseSourceIndex } from "./source-index.ts";

export interface HttpSourceOptions {
  readonly url: string;
  /** Read anew for each file, so that a token may change. */
  readonly tokenFile?: string;
}

export function createHttpSource({ url, tokenFile }: HttpSourceOptions): ArtifactSource {
  const base = url.endsWith("/") ? url : `${url}/`;

  async function get(file: string, bytesMax: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const address = new URL(file, base).href;
    return readable(address, async () => {
      const limit = AbortSignal.timeout(SOURCE_MS_MAX);
      const response = await fetch(address, {
        redirect: "manual",
        signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
        headers: tokenFile === undefined ? {} : { authorization: `Bearer ${await readToken(tokenFile)}` },
      });
      if (response.status !== 200) {
        await response.body?.cancel();
        throw new AetherError("E_UNAVAILABLE", `it answers ${response.status} and not 200`);
      }
      return readBody(response, bytesMax);
    }, signal);
  }

  async function getJson(file: string, bytesMax: number, signal: AbortSignal | undefined): Promise<unknown> {
    const bytes = await get(file, bytesMax, signal);
    return readable(new URL(file, base).href, () => JSON.parse(new TextDecoder().decode(bytes)) as unknown);
  }

  return {
    name: base,
    list: async (signal) => {
      const json = await getJson(INDEX_NAME, INDEX_BYTES_MAX, signal);
      return readable(new URL(INDEX_NAME, base).href, () => parseSourceIndex(json));
    },
    manifest: (artifact, signal) => getJson(manifestNameOf(artifact), MANIFEST_FILE_BYTES_MAX, signal),
    archive: (artifact, signal) => get(archiveNameOf(artifact), ARCHIVE_BYTES_MAX, signal),
  };
}

async function readBody(response: Response, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const body: AsyncIterable<Uint8Array> | undefined = response.body ?? undefined;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    // Leaving the loop ends the connection.
    checkBytes(bytes, bytesMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** What a header can carry. */
const TOKEN = /^[\x21-\x7e]+$/;

async function readToken(file: string): Promise<string> {
  const handle = await open(file);
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(TOKEN_FILE_BYTES_MAX), 0, TOKEN_FILE_BYTES_MAX, 0);
    const token = buffer.toString("utf8", 0, bytesRead).trim();
    // Before `fetch` sees it, whose error would tell it to whoever applies the blueprint.
    if (TOKEN.test(token)) return token;
    throw new AetherError("E_INVALID", `${file} has no usable token: one line of letters, digits and signs`);
  } finally {
    await handle.close();
  }
}

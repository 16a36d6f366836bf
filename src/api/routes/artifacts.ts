// Owns: /v1/artifacts: pushing slice archives into the cluster, looking at what is there, removing what nobody needs.
import { parseArtifactId } from "../../base/ids.ts";
import { jsonResponse } from "../json.ts";
import { ARTIFACT_BYTES_MAX } from "../limits.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function artifactRoutes(services: ApiServices): readonly Route[] {
  const { artifacts } = services;
  return [
    {
      method: "GET",
      path: "/v1/artifacts",
      summary: "All artifacts of the cluster",
      answer: "{ artifacts }",
      handle: async () => jsonResponse(200, { artifacts: await artifacts.list() }),
    },
    {
      method: "GET",
      path: "/v1/artifacts/:artifact",
      summary: "The manifest of one artifact",
      answer: "the manifest",
      handle: async (request) =>
        jsonResponse(200, await artifacts.manifest(parseArtifactId(request.param("artifact")))),
    },
    {
      method: "PUT",
      path: "/v1/artifacts/:artifact",
      summary: "Stores a slice archive; the same content again is fine, other content is refused",
      body: "bytes",
      answer: "{ artifact, digest }",
      handle: async (request) => {
        const expect = parseArtifactId(request.param("artifact"));
        const signal = request.signal();
        const archive = await request.readBytes(ARTIFACT_BYTES_MAX);
        const { artifact, digest } = await artifacts.push(archive, { expect, signal });
        return jsonResponse(200, { artifact, digest });
      },
    },
    {
      method: "DELETE",
      path: "/v1/artifacts/:artifact",
      summary: "Removes an artifact that no blueprint and no instance needs; refused with who does",
      answer: "{ artifact }",
      handle: async (request) => {
        const artifact = parseArtifactId(request.param("artifact"));
        await artifacts.remove(artifact, { signal: request.signal() });
        return jsonResponse(200, { artifact });
      },
    },
  ];
}

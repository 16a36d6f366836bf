// Owns: /v1/blueprints: desired state in, desired and actual state out.
import { AetherError } from "../../base/errors.ts";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

export function blueprintRoutes(services: ApiServices): readonly Route[] {
  const { blueprints } = services;
  return [
    {
      method: "GET",
      path: "/v1/blueprints",
      summary: "All blueprints",
      answer: "{ blueprints }",
      handle: async () => jsonResponse(200, { blueprints: await blueprints.list() }),
    },
    {
      method: "GET",
      path: "/v1/blueprints/:name",
      summary: "A blueprint as it was applied: every range resolved to an exact artifact",
      answer: "the blueprint",
      handle: async (request) => {
        const name = request.param("name");
        return jsonResponse(200, found(name, await blueprints.get(name)));
      },
    },
    {
      method: "GET",
      path: "/v1/blueprints/:name/status",
      summary: "Wanted and actual instances of a blueprint's slices",
      answer: "{ name, revision, slices: { [slice]: { artifact, want, active, instances } } }",
      handle: async (request) => {
        const name = request.param("name");
        return jsonResponse(200, found(name, await blueprints.status(name)));
      },
    },
    {
      method: "PUT",
      path: "/v1/blueprints/:name",
      summary: "Applies a blueprint: what should run from now on",
      body: "any JSON",
      answer: "{ name, revision }",
      handle: async (request) => {
        const name = request.param("name");
        return jsonResponse(200, await blueprints.apply(name, await request.readJson()));
      },
    },
    {
      method: "DELETE",
      path: "/v1/blueprints/:name",
      summary: "Deletes a blueprint; its instances are stopped",
      answer: "{ name, deleted }",
      handle: async (request) => {
        const name = request.param("name");
        return jsonResponse(200, (await blueprints.delete(name)) ?? { name, deleted: true });
      },
    },
  ];
}

function found(name: string, answer: unknown): unknown {
  if (answer !== undefined) return answer;
  throw new AetherError("E_NOT_FOUND", `there is no blueprint "${name}"; GET /v1/blueprints lists them`, {
    outcome: "none",
  });
}

// Owns: /v1/blueprints: desired state in, desired and actual state out.
import { z } from "zod";
import { AetherError } from "../../base/errors.ts";
import { readQuery } from "../consistency.ts";
import { jsonResponse } from "../json.ts";
import { parseInput } from "../parse-input.ts";
import type { Route } from "../route.ts";
import type { ApiServices } from "../services.ts";

const rollbackSchema = z.strictObject({ revision: z.int().min(1).optional() });

export function blueprintRoutes(services: ApiServices): readonly Route[] {
  const { blueprints } = services;
  return [
    {
      method: "GET",
      path: "/v1/blueprints",
      summary: "All blueprints",
      query: readQuery,
      answer: "{ blueprints }",
      handle: async (request) => jsonResponse(200, { blueprints: await blueprints.list(request.query(readQuery)) }),
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
      query: readQuery,
      answer: "{ name, revision, slices: { [slice]: { artifact, want, active, instances, unplaced?, rollout? } } }",
      handle: async (request) => {
        const name = request.param("name");
        return jsonResponse(200, found(name, await blueprints.status(name, request.query(readQuery))));
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
      method: "POST",
      path: "/v1/blueprints/:name/rollback",
      summary: "Makes an earlier revision current again, as a new one; without a number the newest that differs",
      body: rollbackSchema,
      answer: "{ name, revision, rolledBackTo }",
      handle: async (request) => {
        const input = (await request.readOptionalJson()) ?? {};
        const { revision } = parseInput(rollbackSchema, input, "the rollback");
        return jsonResponse(200, await blueprints.rollback(request.param("name"), revision));
      },
    },
    {
      method: "DELETE",
      path: "/v1/blueprints/:name",
      summary: "Deletes a blueprint, also one that cannot be read; its instances are stopped",
      answer: "{ name, revision }",
      handle: async (request) => jsonResponse(200, await blueprints.delete(request.param("name"))),
    },
  ];
}

function found(name: string, answer: unknown): unknown {
  if (answer !== undefined) return answer;
  throw new AetherError("E_NOT_FOUND", `there is no blueprint "${name}"; GET /v1/blueprints lists them`, {
    outcome: "none",
  });
}

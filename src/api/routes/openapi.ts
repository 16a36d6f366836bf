// Owns: /v1/openapi.json, generated from the table of routes.
import { z } from "zod";
import { jsonResponse } from "../json.ts";
import type { Route } from "../route.ts";

export function openApiRoute(routes: readonly Route[]): Route {
  return {
    method: "GET",
    path: "/v1/openapi.json",
    summary: "This API as an OpenAPI 3.1 document",
    answer: "the document",
    handle: () => jsonResponse(200, openApiDocument(routes)),
  };
}

function openApiDocument(routes: readonly Route[]): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = route.path.replaceAll(/:([a-z]+)(\{\.\+\})?/g, "{$1}");
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "Aether", version: "1", description: "Errors: { error: { code, message, outcome, details } }" },
    paths,
    components: { schemas: { Error: ERROR_SCHEMA } },
  };
}

const ERROR_SCHEMA = {
  type: "object",
  required: ["error"],
  properties: {
    error: {
      type: "object",
      required: ["code", "message"],
      properties: {
        code: { type: "string" },
        message: { type: "string" },
        outcome: { enum: ["not-applied", "unknown"] },
        details: { type: "object" },
      },
    },
  },
} as const;

function operationOf(route: Route): unknown {
  const content = { "application/json": { schema: { $ref: "#/components/schemas/Error" } } };
  return {
    summary: route.summary,
    parameters: [...pathParameters(route), ...queryParameters(route), ...headerParameters(route)],
    ...(route.body === undefined ? {} : { requestBody: { required: true, content: bodyContent(route.body) } }),
    responses: { "200": { description: route.answer }, default: { description: "Refused or failed", content } },
  };
}

function pathParameters(route: Route): readonly unknown[] {
  return [...route.path.matchAll(/:([a-z]+)/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function queryParameters(route: Route): readonly unknown[] {
  if (route.query === undefined) return [];
  const { properties = {} } = z.toJSONSchema(route.query, { io: "input" });
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

function headerParameters(route: Route): readonly unknown[] {
  return Object.entries(route.headers ?? {}).map(([name, description]) => ({
    name,
    in: "header",
    required: false,
    description,
    schema: { type: "string" },
  }));
}

function bodyContent(body: NonNullable<Route["body"]>): unknown {
  if (body === "bytes") return { "application/octet-stream": {} };
  if (body === "any JSON") return { "application/json": { schema: {} } };
  return { "application/json": { schema: z.toJSONSchema(body, { io: "input" }) } };
}

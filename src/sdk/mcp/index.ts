// Owns: the package entry `aether/mcp`: tools of MCP servers for agents. Apart from `aether/slice`, because it needs
// `@modelcontextprotocol/sdk`, which only those install who use it.
export {
  mcpTools,
  type McpReconcileContext, type McpTool, type McpTools, type McpToolsOptions,
} from "./mcp-tools.ts";
export type { McpHttpServer, McpServer, McpStdioServer } from "./server-options.ts";
export type { McpAnswer, McpFailure } from "./answers.ts";

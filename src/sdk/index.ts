// Owns: the package entry `aether/slice`: everything needed to write slices, agents and blueprints, and nothing else.
export {
  defineContract, method,
  type CallOptions, type Client, type ClientMethod, type Contract, type Method, type MethodEffect, type MethodOptions,
  type Methods,
} from "./contract.ts";
export {
  defineSlice,
  type CallContext, type Handler, type Handlers, type NoConfig, type Slice, type SliceContext, type SliceDefinition,
  type SliceLog, type Uses,
} from "./slice.ts";
export type {
  LeaseOptions, SliceChange, SliceChanges, SliceCompare, SliceEntry, SliceKv, SliceLease, SliceListQuery, SliceOp,
  SliceOpResult, SlicePage, SlicePutOptions, SliceTxn, SliceTxnResult, SliceWatchQuery, StateCallOptions,
  StateReadOptions, StateWriteOptions,
} from "./slice-state.ts";
export type { SignalJobOptions, SliceAgents, StartedJobOfSlice, StartJobOptions } from "./slice-agents.ts";
export type { AgentSchedule, ScheduleDefinition } from "./schedule.ts";
export { defineTopic, messageOf, type Topic, type TopicMessage, type TopicOptions } from "./topic.ts";
export { defineAgent, type Agent, type AgentDefinition } from "./agent.ts";
export {
  defineTool, notDone,
  type Reconciled, type Tool, type ToolContext, type ToolDefinition, type ToolEffect, type ToolVerifier, type Verified,
} from "./tool.ts";
export { httpTool, type HttpToolOptions } from "./http/http-tool.ts";
export { secret, type Secret } from "./secret.ts";
export type {
  LlmAnswer, LlmCall, LlmCompletion, LlmContext, LlmFinish, LlmLimits, LlmMessage, LlmProvider, LlmRequest, LlmSchema,
  LlmTerms, LlmTool, LlmToolCall, LlmToolSpec, LlmUsage, Models,
} from "./llm.ts";
export { openAi, type OpenAiOptions } from "./llm/openai.ts";
export { anthropic, type AnthropicOptions } from "./llm/anthropic.ts";
export { scripted, type Script, type ScriptedAnswer, type ScriptedOptions } from "./llm/scripted.ts";
export { isToolRejected, type ApprovalRule, type ToolApproval, type ToolRejected } from "./tool-approval.ts";
export { defineSignal, type Signal } from "./signal.ts";
export {
  isChildFailed, type ChildFailed, type ChildOptions, type DetachedChildOptions, type StartedChild,
} from "./child.ts";
export type {
  Approval, ApprovalOptions, ChildAgent, Job, JobScope, StartChild, StepContext, StepOptions, ToolCallOptions,
  ToolCalls, Tools, WaitOptions,
} from "./job.ts";
export type { Budget, LlmPrice } from "./budget.ts";
export type { Duration } from "./duration.ts";
export { defineBlueprint, type BlueprintInput } from "./blueprint.ts";

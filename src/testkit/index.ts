// Owns: the package entry `aether/testing`: clusters in a simulated world for the tests of people's own slices.
export { buildSlices } from "./build-slices-adapter.ts";
export { createTestCluster, type TestClusterOptions } from "./create-test-cluster.ts";
export {
  crashEverywhere, type CrashEverywhereOptions, type CrashPlace, type CrashReport, type OtherEnd, type WrongEffect,
} from "./crash-everywhere.ts";
export { inlineSlice, type AnySlice, type InlineSliceOptions, type InstanceTime } from "./inline-slice.ts";
export type { NamedBlueprint, TestClientOptions, TestCluster, TestInstance } from "./test-cluster.ts";
export type { RequestState, OutsideRequest } from "./sim/outside.ts";
export type {
  AnyAgent, ApproveOptions, StartOptions, TestAgent, TestJob, TestJobResult, TestBudget, TestJobStatus, TestToolCall,
} from "./test-agents.ts";
export type { MockContext, MockOptions, MockTool, ToolMock } from "./tool-mock.ts";
export type { TestSlice } from "./test-slice.ts";

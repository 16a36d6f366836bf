import { expect, test } from "vitest";
import { DeploymentConfig } from "../../../src/cluster/deployment/deployment-config.ts";
import { loadNodeConfig, type NodeConfig } from "../../../src/node/config.ts";
import { checkTimeLimits, instanceStopMs, nodeStopMs, STOP_MS_MIN } from "../../../src/node/time-limits.ts";
import { RuntimeConfig } from "../../../src/slices/host/runtime-config.ts";

function load(variables: Readonly<Record<string, string>>): NodeConfig {
  const listen = "ws://127.0.0.1:7101";
  const base = { AETHER_CLUSTER: "demo", AETHER_NODE: "n1", AETHER_LISTEN: listen, AETHER_DATA_DIR: "./data" };
  return loadNodeConfig({ variables: { ...base, ...variables } });
}

test("the limits agree as they are given out", () => {
  const limits = { runtime: RuntimeConfig.parse({}), deployment: DeploymentConfig.parse({}), apiCloseTimeoutMs: 3_000 };
  checkTimeLimits(limits);
  expect(nodeStopMs(limits)).toBe(STOP_MS_MIN);
});

test.each([
  [{ AETHER_RUNTIME_HOOK_MS_MAX: "60000" }, /deployment\.activatingMsMax: is 60000 ms, but runtime\.hookMsMax/],
  [{ AETHER_DEPLOYMENT_ACTIVATING_MS_MAX: "5000" }, /deployment\.activatingMsMax.*runtime\.hookMsMax/],
  [{ AETHER_RUNTIME_DRAIN_MS_MAX: "25000" }, /deployment\.deactivatingMsMax.*runtime\.drainMsMax and runtime\.hookMsMax/],
  [{ AETHER_DEPLOYMENT_DEACTIVATING_MS_MAX: "24000" }, /deployment\.deactivatingMsMax.*runtime\.drainMsMax/],
])("a step that has no room for what it contains is refused, naming both: %o", (variables, message) => {
  expect(() => load(variables)).toThrow(message);
  expect(() => load(variables)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
});

test("both limits raised together are accepted", () => {
  const config = load({ AETHER_RUNTIME_HOOK_MS_MAX: "90000", AETHER_DEPLOYMENT_ACTIVATING_MS_MAX: "120000",
    AETHER_DEPLOYMENT_DEACTIVATING_MS_MAX: "180000" });
  expect(config.deployment).toMatchObject({ activatingMsMax: 120_000, deactivatingMsMax: 180_000 });
});

test("an orderly stop has room for the calls in flight, for stop() after them, and for the API", () => {
  const limits = load({ AETHER_RUNTIME_HOOK_MS_MAX: "50000", AETHER_DEPLOYMENT_DEACTIVATING_MS_MAX: "180000" });
  const { hookMsMax } = limits.runtime;
  expect(instanceStopMs(limits)).toBeGreaterThan(limits.deployment.stopDrainMsMax + hookMsMax);
  expect(nodeStopMs(limits)).toBeGreaterThan(instanceStopMs(limits) + limits.apiCloseTimeoutMs);
});

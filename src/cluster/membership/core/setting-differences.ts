// Owns: which settings that have to be equal on all nodes are not, from what the nodes' rows say.
import type { NodeId } from "../../../base/ids.ts";

/** By the name that the setting has in the configuration. */
export type SharedSettings = Readonly<Record<string, number>>;

export interface SettingOnNode {
  readonly node: NodeId;
  readonly value: number;
}

export interface SettingDifference {
  readonly setting: string;
  /** Of each node that says it, in the order of the nodes. */
  readonly values: readonly SettingOnNode[];
}

interface NodeSettings {
  readonly node: NodeId;
  /** Undefined when the node does not say, as builds before did. */
  readonly settings: SharedSettings | undefined;
}

/** By the name of the setting. What a node does not say differs from nothing. */
export function settingDifferences(nodes: readonly NodeSettings[]): readonly SettingDifference[] {
  const names = new Set(nodes.flatMap(({ settings = {} }) => Object.keys(settings)));
  return [...names].sort().flatMap((setting) => {
    const values = nodes.flatMap(({ node, settings }): SettingOnNode[] => {
      const value = settings?.[setting];
      return value === undefined ? [] : [{ node, value }];
    });
    return new Set(values.map(({ value }) => value)).size > 1 ? [{ setting, values }] : [];
  });
}

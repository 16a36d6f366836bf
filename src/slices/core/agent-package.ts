// Owns: packages whose default export is an agent: they count as slices without methods that bring this one agent.

/** The default export as the slice that it stands for; anything but an agent as it is. */
export function sliceOfExport(exported: unknown): unknown {
  if (typeof exported !== "object" || exported === null) return exported;
  if (!("kind" in exported) || exported.kind !== "aether-agent" || !("name" in exported)) return exported;
  const sdkVersion = "sdkVersion" in exported ? exported.sdkVersion : undefined;
  const contract = { name: exported.name, methods: {} };
  return { kind: "aether-slice", sdkVersion, contract, uses: {}, methods: {}, agents: [exported] };
}

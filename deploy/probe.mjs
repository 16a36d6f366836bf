// Ends with 0 when the node that listens at AETHER_API answers the path with 200: `node probe.mjs /readyz`.
const [path = "/livez"] = process.argv.slice(2);
const api = process.env.AETHER_API ?? "http://127.0.0.1:7201";
try {
  const { status } = await fetch(new URL(path, api), { signal: AbortSignal.timeout(2_500) });
  process.exitCode = status === 200 ? 0 : 1;
} catch {
  process.exitCode = 1;
}

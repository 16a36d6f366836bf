// Registers the OpenTelemetry SDK in a process: `node --import ./otel.js node_modules/.bin/aether node start …`.
// The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT (default: http://localhost:4318).
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": process.env.OTEL_SERVICE_NAME ?? "aether" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();

// A node that has drained ends by itself: the last spans leave before.
process.once("beforeExit", () => void provider.shutdown());

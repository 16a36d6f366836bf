// The lean connection against Node.js' own HTTP/2: what it leaves out, it must leave out without being wrong.
import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { Http2Connection } from "./http2-connection.ts";

type Handler = (path: string, body: Buffer, stream: ServerHttp2Stream) => void;

async function serve(handler: Handler): Promise<{ readonly server: Http2Server; readonly port: number }> {
  const server = createServer();
  server.on("stream", (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => handler(String(headers[":path"]), Buffer.concat(chunks), stream));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { server, port: (server.address() as AddressInfo).port };
}

function open(port: number): Http2Connection {
  const connection = new Http2Connection("127.0.0.1", port);
  onTestFinished(() => connection.close());
  return connection;
}

/** As gRPC answers: headers, a message, trailers. */
function answer(stream: ServerHttp2Stream, message: Buffer): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(message);
}

test("every call gets its own answer, with paths and headers that repeat", async () => {
  const { port } = await serve((path, body, stream) => answer(stream, Buffer.concat([Buffer.from(path), body])));
  const connection = open(port);
  const calls = Array.from({ length: 500 }, (_, index) => ({ path: index % 3 === 0 ? "/a" : "/b", text: `#${index}` }));
  const answers = await Promise.all(calls.map(({ path, text }) => connection.call(path, Buffer.from(text))));
  expect(answers.map(String)).toEqual(calls.map(({ path, text }) => `${path}${text}`));
});

test("more than the other side's window is sent as the window opens", async () => {
  const { port } = await serve((_path, body, stream) => answer(stream, Buffer.from(String(body.length))));
  const connection = open(port);
  const bodies = Array.from({ length: 40 }, () => Buffer.alloc(8_000, 1));
  const answers = await Promise.all(bodies.map((body) => connection.call("/big", body)));
  expect(answers.map(String)).toEqual(bodies.map(() => "8000"));
});

test("an answer of several frames is one message", async () => {
  const { port } = await serve((_path, _body, stream) => answer(stream, Buffer.alloc(100_000, 7)));
  expect(await open(port).call("/long", Buffer.from("?"))).toEqual(Buffer.alloc(100_000, 7));
});

test("an answer without a message is a refusal, and the connection goes on", async () => {
  const { port } = await serve((path, body, stream) => {
    if (path === "/ok") return answer(stream, body);
    stream.respond({ ":status": 200, "grpc-status": "14" }, { endStream: true });
  });
  const connection = open(port);
  await expect(connection.call("/refused", Buffer.from("?"))).rejects.toThrow("without a message");
  expect(String(await connection.call("/ok", Buffer.from("yes")))).toBe("yes");
});

test("a connection that breaks fails what is under way and what comes later", async () => {
  const { port } = await serve((_path, _body, stream) => stream.session?.destroy());
  const connection = open(port);
  await expect(connection.call("/lost", Buffer.from("?"))).rejects.toThrow();
  expect(connection.isOpen).toBe(false);
  await expect(connection.call("/late", Buffer.from("?"))).rejects.toThrow();
});

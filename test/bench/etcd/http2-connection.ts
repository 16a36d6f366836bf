// Owns: a lean HTTP/2 client connection for unary gRPC calls: one write per turn of the event loop for all that was
// asked in it, headers compressed to a few bytes after their first use, nothing parsed of an answer but its message.
// Node's own http2 costs several times the time per request, which would be charged to the system measured.
// Does not own: TLS, pushes, streams with more than one message, header values (an answer without a message failed).
import { connect, type Socket } from "node:net";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");
const FRAME_HEADER_BYTES = 9;
const FRAME = { data: 0, headers: 1, rstStream: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const FLAG = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8 } as const;
const SETTING = { headerTableSize: 1, initialWindowSize: 4 } as const;
const WINDOW_AT_START = 65_535;
const WINDOW_MAX = 2 ** 31 - 1;
/** Of the bytes that we allow, so many may be used up before we allow more. */
const WINDOW_REFILL = 2 ** 29;
const STREAM_ID_MAX = 2 ** 31 - 1;
/** HPACK: the first index behind the static table. */
const DYNAMIC_FIRST = 62;

interface Stream {
  message: Buffer | undefined;
  resolve(message: Buffer): void;
  reject(reason: Error): void;
}

interface Waiting {
  readonly id: number;
  readonly path: string;
  readonly message: Buffer;
}

export class Http2Connection {
  private readonly socket: Socket;
  private readonly authority: string;
  private readonly streams = new Map<number, Stream>();
  private readonly headerNames: string[] = [];
  private outbox: Buffer[] = [PREFACE, settingsFrame(), windowFrame(0, WINDOW_MAX - WINDOW_AT_START)];
  private isFlushPlanned = true;
  private rest: Buffer = Buffer.alloc(0);
  private nextStream = 1;
  private sendWindow = WINDOW_AT_START;
  private receivedBytes = 0;
  private readonly waiting: Waiting[] = [];
  private failure: Error | undefined;

  constructor(host: string, port: number) {
    this.authority = `${host}:${port}`;
    this.socket = connect({ host, port, noDelay: true });
    this.socket.on("connect", () => this.flush());
    this.socket.on("data", (chunk) => this.receive(chunk));
    this.socket.on("error", (error) => this.fail(error));
    this.socket.on("close", () => this.fail(new Error("the connection was closed")));
  }

  get isOpen(): boolean {
    return this.failure === undefined;
  }

  /** Sends one gRPC message, answers with the one that comes back; rejects when none does. */
  call(path: string, message: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) {
        reject(this.failure);
        return;
      }
      const id = this.nextStream;
      if (id > STREAM_ID_MAX) throw new Error("all streams of this connection are used up");
      this.nextStream += 2;
      this.streams.set(id, { message: undefined, resolve, reject });
      this.waiting.push({ id, path, message });
      this.sendWaiting();
    });
  }

  close(): void {
    this.fail(new Error("closed by this side"));
    this.socket.destroy();
  }

  /** In the order of their ids, as HTTP/2 wants it, as far as the other side's window goes. */
  private sendWaiting(): void {
    for (let next = this.waiting[0]; next !== undefined; next = this.waiting[0]) {
      if (next.message.length > this.sendWindow) return;
      this.waiting.shift();
      this.sendWindow -= next.message.length;
      const headers = this.headerBlock(next.path);
      this.add(frameHeader(headers.length, FRAME.headers, FLAG.endHeaders, next.id), headers);
      this.add(frameHeader(next.message.length, FRAME.data, FLAG.endStream, next.id), next.message);
    }
  }

  /** HPACK: a header goes as text once and is one byte afterwards. Six short ones never fill the table. */
  private headerBlock(path: string): Buffer {
    return Buffer.concat([
      Buffer.of(0x83, 0x86), // :method POST, :scheme http
      this.header(Buffer.of(0x40 | 4), path), // :path
      this.header(Buffer.of(0x40 | 1), this.authority), // :authority
      this.header(Buffer.of(0x40 | 31), "application/grpc"), // content-type
      this.header(Buffer.concat([Buffer.of(0x40), literal("te")]), "trailers"),
    ]);
  }

  private header(name: Buffer, value: string): Buffer {
    const inserted = this.headerNames.indexOf(value);
    if (inserted >= 0) return Buffer.of(0x80 | (DYNAMIC_FIRST + this.headerNames.length - 1 - inserted));
    this.headerNames.push(value);
    return Buffer.concat([name, literal(value)]);
  }

  private add(...parts: readonly Buffer[]): void {
    this.outbox.push(...parts);
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    setImmediate(() => this.flush());
  }

  private flush(): void {
    this.isFlushPlanned = false;
    const parts = this.outbox;
    this.outbox = [];
    if (this.isOpen) this.socket.write(Buffer.concat(parts));
  }

  private receive(chunk: Buffer): void {
    const data = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    let at = 0;
    for (;;) {
      if (data.length - at < FRAME_HEADER_BYTES) break;
      const length = data.readUIntBE(at, 3);
      const end = at + FRAME_HEADER_BYTES + length;
      if (data.length < end) break;
      const stream = data.readUInt32BE(at + 5) & STREAM_ID_MAX;
      this.receiveFrame(data[at + 3] ?? 0, data[at + 4] ?? 0, stream, data.subarray(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.rest = data.subarray(at);
  }

  private receiveFrame(type: number, flags: number, id: number, payload: Buffer): void {
    switch (type) {
      case FRAME.data:
        this.receiveData(flags, id, payload);
        break;
      case FRAME.headers:
        if ((flags & FLAG.endStream) !== 0) this.endStream(id, new Error("an answer without a message: refused"));
        break;
      case FRAME.rstStream:
        this.endStream(id, new Error(`the stream was reset with code ${payload.readUInt32BE(0)}`));
        break;
      case FRAME.settings:
        if ((flags & FLAG.ack) === 0) this.add(frameHeader(0, FRAME.settings, FLAG.ack, 0));
        break;
      case FRAME.ping:
        if ((flags & FLAG.ack) === 0) this.add(frameHeader(payload.length, FRAME.ping, FLAG.ack, 0), payload);
        break;
      case FRAME.goAway:
        this.fail(new Error(`the other side goes away, code ${payload.readUInt32BE(4)}`));
        break;
      case FRAME.windowUpdate:
        if (id === 0) this.sendWindow += payload.readUInt32BE(0);
        this.sendWaiting();
        break;
      default: // Others, such as priorities, change nothing here.
        break;
    }
  }

  private receiveData(flags: number, id: number, payload: Buffer): void {
    if ((flags & FLAG.padded) !== 0) throw new Error("padded frames are not expected");
    this.receivedBytes += payload.length;
    if (this.receivedBytes > WINDOW_REFILL) {
      this.add(windowFrame(0, this.receivedBytes));
      this.receivedBytes = 0;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.message = stream.message === undefined ? payload : Buffer.concat([stream.message, payload]);
    if ((flags & FLAG.endStream) !== 0) this.endStream(id, new Error("an answer without a status"));
  }

  private endStream(id: number, otherwise: Error): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.streams.delete(id);
    if (stream.message === undefined) stream.reject(otherwise);
    else stream.resolve(stream.message);
  }

  private fail(reason: Error): void {
    if (this.failure !== undefined) return;
    this.failure = reason;
    this.socket.destroy();
    const cut = [...this.streams.values()];
    this.streams.clear();
    for (const stream of cut) stream.reject(reason);
  }
}

function frameHeader(length: number, type: number, flags: number, stream: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return header;
}

/** No header table of the other side's making: nobody reads its headers. */
function settingsFrame(): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeUInt16BE(SETTING.headerTableSize, 0);
  payload.writeUInt32BE(0, 2);
  payload.writeUInt16BE(SETTING.initialWindowSize, 6);
  payload.writeUInt32BE(WINDOW_MAX, 8);
  return Buffer.concat([frameHeader(payload.length, FRAME.settings, 0, 0), payload]);
}

function windowFrame(stream: number, bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes, 0);
  return Buffer.concat([frameHeader(payload.length, FRAME.windowUpdate, 0, stream), payload]);
}

/** HPACK text, not Huffman coded, shorter than 127 bytes. */
function literal(text: string): Buffer {
  return Buffer.concat([Buffer.of(text.length), Buffer.from(text, "latin1")]);
}

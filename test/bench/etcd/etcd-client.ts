// Owns: puts, linearizable gets and status of one etcd member over one connection.
import { Http2Connection } from "./http2-connection.ts";
import {
  decodeIsLeader, decodePutRevision, decodeRange, encodeEmpty, encodePut, encodeRange, type FoundValue,
} from "./wire.ts";

export class EtcdClient {
  private readonly connection: Http2Connection;

  constructor(port: number) {
    this.connection = new Http2Connection("127.0.0.1", port);
  }

  get isOpen(): boolean {
    return this.connection.isOpen;
  }

  /** Answers the revision of the write. */
  async put(key: string, value: string): Promise<bigint> {
    return decodePutRevision(await this.connection.call("/etcdserverpb.KV/Put", encodePut(key, value)));
  }

  async get(key: string): Promise<FoundValue | undefined> {
    return decodeRange(await this.connection.call("/etcdserverpb.KV/Range", encodeRange(key)));
  }

  async isLeader(): Promise<boolean> {
    return decodeIsLeader(await this.connection.call("/etcdserverpb.Maintenance/Status", encodeEmpty()));
  }

  close(): void {
    this.connection.close();
  }
}

// Ports only: no code here. How a notice leaves the node.

export interface NoticeRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
}

export interface NoticeSender {
  /**
   * One request, to this address and nowhere else.
   * @throws what came of it when no answer did
   */
  send(request: NoticeRequest, signal: AbortSignal): Promise<{ readonly status: number }>;
}

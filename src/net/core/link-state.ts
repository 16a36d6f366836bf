// Owns: the truth table of one connection, from the first byte to up. Same table for code and test.

/** `judging`: the other side's hello is here and our answer is not yet given. */
export type LinkState = "connecting" | "greeting" | "judging" | "confirming" | "up" | "ended";
export type LinkEvent = "opened" | "hello" | "approved" | "ready" | "frame" | "end";
export type LinkRole = "dialer" | "acceptor";
export type LinkStep = LinkState | "refuse";

const NOTHING = { opened: "refuse", hello: "refuse", approved: "refuse", ready: "refuse", frame: "refuse" } as const;

export const LINK_NEXT = {
  dialer: {
    connecting: { ...NOTHING, opened: "greeting", end: "ended" },
    greeting: { ...NOTHING, hello: "judging", end: "ended" },
    // The dialer's approval is the `ready` it sends: from then on it may send frames.
    judging: { ...NOTHING, approved: "up", end: "ended" },
    confirming: { ...NOTHING, end: "ended" },
    up: { ...NOTHING, frame: "up", end: "ended" },
    ended: { ...NOTHING, end: "ended" },
  },
  acceptor: {
    connecting: { ...NOTHING, end: "ended" },
    greeting: { ...NOTHING, hello: "judging", end: "ended" },
    judging: { ...NOTHING, approved: "confirming", end: "ended" },
    confirming: { ...NOTHING, ready: "up", end: "ended" },
    up: { ...NOTHING, frame: "up", end: "ended" },
    ended: { ...NOTHING, end: "ended" },
  },
} as const satisfies Record<LinkRole, Record<LinkState, Record<LinkEvent, LinkStep>>>;

export function initialLinkState(role: LinkRole): LinkState {
  return role === "dialer" ? "connecting" : "greeting";
}

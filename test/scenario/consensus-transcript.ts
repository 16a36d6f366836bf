// Owns: messages and values in the words of people, with the names of nodes for their random ids.
import { type BatchId, type Message, NULL_OUTCOME, UNSURE, type VoteChoice } from "../../src/consensus/core/message.ts";

export class Namer {
  private readonly names = new Map<string, string>();

  learn(uid: string, name: string): void {
    this.names.set(uid, name);
  }

  batch({ origin, incarnation, sequence }: BatchId): string {
    return `${this.names.get(origin) ?? "?"}${incarnation}.${sequence}`;
  }

  choice(choice: VoteChoice): string {
    if (choice === NULL_OUTCOME) return "null";
    if (choice === UNSURE) return "?";
    return `[${choice.batches.map((id) => this.batch(id)).join(" ")}]`;
  }

  message(message: Message): string {
    switch (message.kind) {
      case "batch":
        return `batch ${this.batch(message.id)}`;
      case "proposal":
        return `proposal ${message.slot} ${this.choice(message.value)}`;
      case "ballot": {
        const { kind, slot, phase, choice } = message.ballot;
        return `${kind} ${slot}/${phase} ${this.choice(choice)}`;
      }
      case "decision":
        return `decision ${message.slot} ${this.choice(message.outcome)}`;
      case "pull-batches":
        return `pull-batches ${message.ids.map((id) => this.batch(id)).join(" ")}`;
      case "pull-slots":
        return `pull-slots ${message.slots.join(" ")}`;
      case "pull-log":
        return `pull-log from ${message.from}`;
      case "log":
        return `log ${message.entries.map((entry) => `${entry.slot} ${this.choice(entry.outcome)}`).join(", ")}`;
      case "read-index-reply":
        return `read-index-reply ${message.voted}`;
      case "read-index":
      case "status":
      case "hello":
      case "hello-reply":
        return message.kind;
    }
  }
}

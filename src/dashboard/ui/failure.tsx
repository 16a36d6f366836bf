// Owns: how a failure is told: what happened, its code, and honestly whether it may have been done.
import type { JSX } from "preact";
import type { AnswerError } from "../api.ts";

export function Failure({ failure }: { readonly failure: AnswerError }): JSX.Element {
  const isUnknown = failure.outcome === "unknown";
  return (
    <div class={`failure ${isUnknown ? "doubt" : "bad"}`} role="alert">
      <div class="failure-head">
        <code>{failure.code}</code>
        {outcomeText(failure)}
      </div>
      <p>{failure.message}</p>
    </div>
  );
}

function outcomeText({ outcome }: AnswerError): JSX.Element | undefined {
  switch (outcome) {
    case "unknown":
      return <strong>Outcome unknown: it may have been done</strong>;
    case "not-applied":
      return <strong>Nothing was changed</strong>;
    default:
      return undefined;
  }
}

// Owns: asking before something is done: what will happen, the fields it needs, what became of it.
// Sent again after an unknown outcome, it has the same idempotency key, where there is one for it.
import { createContext, type ComponentChildren, type JSX } from "preact";
import { useContext, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { AnswerError } from "../api.ts";
import { newKey } from "../browser-adapter.ts";
import { Store, useStore } from "../live/store.ts";
import { Failure } from "./failure.tsx";
import { Button } from "./parts.tsx";

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly kind: "text" | "json" | "number" | "choice";
  readonly value?: string;
  readonly hint?: string;
  readonly choices?: readonly string[];
  readonly isOptional?: boolean;
}

export type Values = Readonly<Record<string, string>>;

export interface Question {
  readonly title: string;
  /** What it will do, in a sentence or two. */
  readonly text: ComponentChildren;
  readonly fields?: readonly Field[];
  readonly action: string;
  readonly kind?: "main" | "danger";
  /** What becomes of it when it is sent again after an unknown outcome: done `once`, or another time. */
  readonly again: "once" | "harmless" | "twice";
  /** Does it, and says what was done. @throws AnswerError */
  run(values: Values, key: string): Promise<string>;
}

/** What a field of JSON has; nothing in it is null. @throws SyntaxError */
export function jsonOf(text: string | undefined): unknown {
  return text === undefined || text.trim() === "" ? null : JSON.parse(text);
}

/** A question each time that it is asked. */
interface Asked {
  readonly number: number;
  readonly question: Question;
}

export class Asking {
  readonly asked = new Store<Asked | undefined>(undefined);
  readonly notices = new Store<readonly string[]>([]);
  private count = 0;

  ask(question: Question): void {
    this.count += 1;
    this.asked.set({ number: this.count, question });
  }

  /** A dialog says late that it was closed: the next question may have been asked by then. */
  close(number: number): void {
    if (this.asked.get()?.number === number) this.asked.set(undefined);
  }

  tell(notice: string): void {
    this.notices.set([...this.notices.get().slice(-2), notice]);
  }

  dismiss(notice: string): void {
    this.notices.set(this.notices.get().filter((other) => other !== notice));
  }
}

const AskingContext = createContext<Asking>(new Asking());
export const AskingProvider = AskingContext.Provider;

export function useAsking(): Asking {
  return useContext(AskingContext);
}

export function Dialogs({ asking }: { readonly asking: Asking }): JSX.Element | null {
  const asked = useStore(asking.asked);
  return asked === undefined ? null : <QuestionDialog key={asked.number} asked={asked} asking={asking} />;
}

const AGAIN = {
  once: "Sending it again is safe: it carries the same key, and is done once.",
  harmless: "Sending it again does no harm: what was done already stays as it is, or is refused.",
  twice: "Look first whether it was done: sent again, it may be done twice.",
} as const;

type Stage =
  | { readonly kind: "asking" }
  | { readonly kind: "running" }
  | { readonly kind: "failed"; readonly failure: AnswerError };

function QuestionDialog({ asked, asking }: { readonly asked: Asked; readonly asking: Asking }): JSX.Element {
  const { number, question } = asked;
  const { title, text, fields = [], action, kind = "main" } = question;
  const dialog = useRef<HTMLDialogElement>(null);
  const key = useMemo(newKey, []);
  const [values, setValues] = useState<Values>(() => Object.fromEntries(fields.map((f) => [f.name, f.value ?? ""])));
  const [stage, setStage] = useState<Stage>({ kind: "asking" });
  // Not an effect of its own time: the keyboard would be nowhere between the end of the dialog and that of the effect.
  useLayoutEffect(() => {
    const opener = document.activeElement;
    const shown = dialog.current;
    shown?.showModal();
    return () => {
      // While it is open nothing beside it can have the keyboard.
      shown?.close();
      giveBack(opener);
    };
  }, []);
  const run = async (): Promise<void> => {
    if (stage.kind === "running") return;
    setStage({ kind: "running" });
    try {
      asking.tell(await question.run(values, key));
      asking.close(number);
    } catch (error) {
      setStage({ kind: "failed", failure: failureOf(error) });
    }
  };
  const isMissing = fields.some(({ name, isOptional, kind: of }) =>
    isOptional !== true && of !== "json" && (values[name] ?? "") === "");
  const isUnknown = stage.kind === "failed" && stage.failure.outcome === "unknown";
  return (
    <dialog ref={dialog} class="dialog" onClose={() => asking.close(number)} aria-labelledby="dialog-title">
      <form onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}>
        <h2 id="dialog-title">{title}</h2>
        <div class="dialog-text">{text}</div>
        {fields.map((field) => (
          <FieldInput key={field.name} field={field} value={values[field.name] ?? ""}
            onValue={(value) => setValues((before) => ({ ...before, [field.name]: value }))} />
        ))}
        {stage.kind === "failed" && <Failure failure={stage.failure} />}
        {isUnknown && <p class="note">{AGAIN[question.again]}</p>}
        <footer>
          <Button onPress={() => asking.close(number)} kind="quiet">Close</Button>
          <button type="submit" class={`button ${kind}`} disabled={isMissing} aria-busy={stage.kind === "running"}>
            {stage.kind === "running" ? "Sending…" : isUnknown ? "Send again" : action}
          </button>
        </footer>
      </form>
    </dialog>
  );
}

/** The keyboard, to who had it before: what was asked for may have taken that out of the page. */
function giveBack(opener: Element | null): void {
  const to = opener?.isConnected === true && opener !== document.body ? opener : document.querySelector("main");
  if (to instanceof HTMLElement) to.focus({ preventScroll: true });
}

function failureOf(error: unknown): AnswerError {
  if (error instanceof AnswerError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new AnswerError({ code: "E_INVALID", message: `not sent: ${message}`, outcome: "not-applied" }, 0);
}

function FieldInput({ field, value, onValue }: {
  readonly field: Field;
  readonly value: string;
  readonly onValue: (value: string) => void;
}): JSX.Element {
  const { name, label, kind, hint, choices = [] } = field;
  const id = `field-${name}`;
  const isBad = kind === "json" && !isJson(value);
  return (
    <label class="field" for={id}>
      <span>{label}</span>
      {input()}
      {isBad ? <small class="bad-text">This is not JSON yet</small> : hint !== undefined && <small>{hint}</small>}
    </label>
  );

  function input(): JSX.Element {
    if (kind === "json") {
      return <textarea id={id} rows={5} class="mono" spellcheck={false} value={value}
        onInput={(event) => onValue(event.currentTarget.value)} />;
    }
    if (kind === "choice") {
      return (
        <select id={id} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
          {choices.map((choice) => <option key={choice} value={choice}>{choice}</option>)}
        </select>
      );
    }
    return (
      <>
        <input id={id} type={kind === "number" ? "number" : "text"} value={value} list={`${id}-list`}
          autocomplete="off" spellcheck={false} onInput={(event) => onValue(event.currentTarget.value)} />
        <datalist id={`${id}-list`}>{choices.map((choice) => <option key={choice} value={choice} />)}</datalist>
      </>
    );
  }
}

function isJson(text: string): boolean {
  try {
    jsonOf(text);
    return true;
  } catch {
    // ignored: that it cannot be read is the answer
    return false;
  }
}

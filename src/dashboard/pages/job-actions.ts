// Owns: what people do to a job: each is asked about first, and says what it did.
import { ask, segment } from "../api.ts";
import type { JobDetail, ToolAnswer } from "../answers.ts";
import { hrefOf, open } from "../route.ts";
import { jsonOf, type Asking } from "../ui/dialog.tsx";

type Done = () => void;

function path(job: string, more: string): string {
  return `/v1/jobs/${segment(job)}${more}`;
}

export function askCancel(asking: Asking, job: string, done: Done): void {
  asking.ask({
    title: "Cancel this job?",
    text: "Its code is told and may tidy up, then it is cancelled. What its tools have done stays done.",
    action: "Cancel the job",
    again: "harmless",
    kind: "danger",
    run: async () => {
      await ask(path(job, "/cancel"), { method: "POST" });
      done();
      return `${job} is asked to end`;
    },
  });
}

export function askSignal(asking: Asking, job: string, done: Done): void {
  asking.ask({
    title: "Send a signal",
    text: "It is kept until the job waits for a signal of this name.",
    fields: [
      { name: "name", label: "Name", kind: "text" },
      { name: "payload", label: "Payload", kind: "json", value: "null" },
    ],
    action: "Send",
    again: "once",
    run: async ({ name = "", payload }, key) => {
      await ask(path(job, `/signals/${segment(name)}`), { method: "POST", body: jsonOf(payload), key });
      done();
      return `Signal ${name} is stored`;
    },
  });
}

export function askRetry(asking: Asking, job: string): void {
  asking.ask({
    title: "Do this job again?",
    text: "A new job goes on where this one ended. Its calls have the same effect ids, so that nothing which is " +
      "recorded as done is done twice.",
    fields: [{ name: "code", label: "Code", kind: "choice", value: "same", choices: ["same", "current"],
      hint: "same: what this job ran. current: what a job of its agent would run now" }],
    action: "Retry",
    again: "harmless",
    run: async ({ code }) => {
      const made = await ask<{ readonly job: string }>(path(job, "/retry"), { method: "POST", body: { code } });
      open(hrefOf(["jobs", made.job]));
      return `Started ${made.job}`;
    },
  });
}

export function askRelease(asking: Asking, job: string, done: Done): void {
  asking.ask({
    title: "Let this job go on?",
    text: "It was held because somebody should look first. It goes on from where its log ends.",
    action: "Let it go on",
    again: "harmless",
    run: async () => {
      await ask(path(job, "/release"), { method: "POST" });
      done();
      return `${job} goes on`;
    },
  });
}

export function askRaise(asking: Asking, { job, budget }: JobDetail, done: Done): void {
  const units = Object.keys(budget?.limit ?? {});
  asking.ask({
    title: "Raise the budget",
    text: "The job goes on as soon as what it wants to do fits.",
    fields: [{
      name: "add", label: "Add", kind: "json", hint: "What may be spent beside what there was",
      value: JSON.stringify(Object.fromEntries(units.map((unit) => [unit, budget?.limit[unit]])), undefined, 2),
    }],
    action: "Raise",
    again: "once",
    run: async ({ add }, key) => {
      await ask(path(job, "/budget"), { method: "POST", body: { add: jsonOf(add) }, key });
      done();
      return `The budget of ${job} is raised`;
    },
  });
}

const RESOLUTIONS = ["It was done", "It was not done", "Give up"] as const;

export function askResolve(asking: Asking, job: string, tool: ToolAnswer, done: Done): void {
  asking.ask({
    title: `What became of ${tool.call}?`,
    text: `Your word is final: "${RESOLUTIONS[0]}" is never called again, "${RESOLUTIONS[1]}" may be. With ` +
      `"${RESOLUTIONS[2]}" the job fails.`,
    fields: [
      { name: "kind", label: "What you found", kind: "choice", choices: RESOLUTIONS, value: RESOLUTIONS[0] },
      { name: "told", label: "Result, or reason", kind: "text", isOptional: true,
        hint: "What the tool would have answered, as JSON; why, when you give up" },
    ],
    action: "Record it",
    again: "harmless",
    run: async ({ kind, told = "" }) => {
      const body = resolutionOf(kind, told);
      await ask(path(job, `/tools/${segment(tool.effectId)}/resolve`), { method: "POST", body });
      done();
      return `Recorded for ${tool.call}`;
    },
  });
}

function resolutionOf(kind: string | undefined, told: string): unknown {
  switch (kind) {
    case RESOLUTIONS[0]:
      return { kind: "done", result: jsonOf(told) };
    case RESOLUTIONS[1]:
      return { kind: "not-done" };
    default:
      return { kind: "given-up", reason: told === "" ? "given up" : told };
  }
}

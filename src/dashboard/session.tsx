// Owns: what all pages share: the cluster and what is known of it, the place, what is being asked.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { AS_HERE, query } from "./api.ts";
import type { AlertsAnswer, ApprovalsAnswer } from "./answers.ts";
import { AnswerFeed } from "./live/answer-feed.ts";
import { ClusterFeed } from "./live/cluster-feed.ts";
import { EventBook } from "./live/event-book.ts";
import { JobBook } from "./live/job-book.ts";
import { MetricsFeed } from "./live/metrics-feed.ts";
import type { Store } from "./live/store.ts";
import { openPlaces, type Place } from "./route.ts";
import { Theme } from "./theme.ts";
import { Asking } from "./ui/dialog.tsx";

export interface Session {
  readonly feed: ClusterFeed;
  readonly metrics: MetricsFeed;
  readonly alerts: AnswerFeed<AlertsAnswer>;
  readonly approvals: AnswerFeed<ApprovalsAnswer>;
  readonly jobs: JobBook;
  readonly events: EventBook;
  readonly places: Store<Place>;
  readonly theme: Theme;
  readonly asking: Asking;
}

export function openSession(): Session {
  return {
    feed: new ClusterFeed(),
    metrics: new MetricsFeed(),
    alerts: new AnswerFeed("/v1/alerts?state=firing"),
    approvals: new AnswerFeed(`/v1/approvals${query({ limit: 100, ...AS_HERE })}`),
    jobs: new JobBook(),
    events: new EventBook(),
    places: openPlaces(),
    theme: new Theme(),
    asking: new Asking(),
  };
}

const SessionContext = createContext<Session | undefined>(undefined);
export const SessionProvider = SessionContext.Provider;

export function useSession(): Session {
  return useContext(SessionContext) ?? openSession();
}

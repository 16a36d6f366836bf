// Owns: what all pages share: the cluster, the place, the jobs, what is being asked.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { ClusterFeed } from "./live/cluster-feed.ts";
import { JobBook } from "./live/job-book.ts";
import type { Store } from "./live/store.ts";
import { openPlaces, type Place } from "./route.ts";
import { Theme } from "./theme.ts";
import { Asking } from "./ui/dialog.tsx";

export interface Session {
  readonly feed: ClusterFeed;
  readonly jobs: JobBook;
  readonly places: Store<Place>;
  readonly theme: Theme;
  readonly asking: Asking;
}

export function openSession(): Session {
  return {
    feed: new ClusterFeed(), jobs: new JobBook(), places: openPlaces(), theme: new Theme(), asking: new Asking(),
  };
}

const SessionContext = createContext<Session | undefined>(undefined);
export const SessionProvider = SessionContext.Provider;

export function useSession(): Session {
  return useContext(SessionContext) ?? openSession();
}

// Owns: where in the page somebody is, as it stands behind the # of the address: it stays when another node answers.
import { Store } from "./live/store.ts";

export interface Place {
  /** The page, then what of it. */
  readonly parts: readonly string[];
  readonly filters: Readonly<Record<string, string>>;
}

export function parsePlace(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter((part) => part !== "").map(decoded);
  return { parts, filters: Object.fromEntries(new URLSearchParams(query)) };
}

export function hrefOf(parts: readonly string[], filters: Readonly<Record<string, string | undefined>> = {}): string {
  const pairs = Object.entries(filters).filter((pair): pair is [string, string] => (pair[1] ?? "") !== "");
  const query = pairs.length === 0 ? "" : `?${new URLSearchParams(pairs).toString()}`;
  return `#/${parts.map(encodeURIComponent).join("/")}${query}`;
}

/** Of the address bar; people may write anything there. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // ignored: what is not encoded is taken as it is
    return part;
  }
}

export function openPlaces(): Store<Place> {
  const places = new Store(parsePlace(location.hash));
  addEventListener("hashchange", () => places.set(parsePlace(location.hash)));
  return places;
}

export function open(href: string): void {
  location.hash = href;
}

/** As one goes along, without a step to go back to. */
export function replacePlace(href: string): void {
  history.replaceState(undefined, "", href);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

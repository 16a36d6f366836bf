// Owns: what the dashboard has of the browser beside the page itself: time, timers, chance, what is remembered.

export interface Stop {
  (): void;
}

export function nowMs(): number {
  return Date.now();
}

export function after(ms: number, run: () => void): Stop {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

/** Once for all calls until the next frame. */
export function beforeNextFrame(run: () => void): void {
  requestAnimationFrame(run);
}

/** For `Idempotency-Key`: the same action, sent again, is done once. */
export function newKey(): string {
  return crypto.randomUUID();
}

/** A page that nobody looks at asks for nothing and keeps no connection. */
export function onVisibility(listener: (isVisible: boolean) => void): Stop {
  const tell = (): void => listener(!document.hidden);
  document.addEventListener("visibilitychange", tell);
  return () => document.removeEventListener("visibilitychange", tell);
}

export function isVisible(): boolean {
  return !document.hidden;
}

const YEAR_SECONDS = 31_536_000;

/** A cookie, because the page of another node, on another port, is to find it too. */
export function remember(name: string, value: string): void {
  document.cookie = `aether-${name}=${encodeURIComponent(value)}; path=/; max-age=${YEAR_SECONDS}; samesite=strict`;
}

export function remembered(name: string): string | undefined {
  const prefix = `aether-${name}=`;
  const found = document.cookie.split("; ").find((pair) => pair.startsWith(prefix));
  return found === undefined ? undefined : decodeURIComponent(found.slice(prefix.length));
}

export function goTo(address: string): void {
  location.replace(address);
}

export function saveText(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

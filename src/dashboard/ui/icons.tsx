// Owns: the page's own pictures: one line weight, the colour of the text around them.
import type { JSX } from "preact";

const PATHS = {
  cluster: "M12 4.5 5 17h14zM12 3a1.8 1.8 0 1 0 0 3.6A1.8 1.8 0 0 0 12 3M5 15.4A1.8 1.8 0 1 0 5 19" +
    "a1.8 1.8 0 0 0 0-3.6m14 0a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6",
  slices: "m12 3.5 8.5 4.3L12 12 3.5 7.800zM3.5 12 12 16.3 20.5 12M3.5 16.2 12 20.500l8.5-4.3",
  calls: "M4 8h13m-3.5-3.500L17 8l-3.5 3.500M20 16H7m3.5-3.500L7 16l3.5 3.5",
  jobs: "M5 6.500h3v3H5zM5 14.500h3v3H5zM11 8h9M11 16h9",
  approvals: "M12 3.5 19.5 6v6c0 4.5-3.2 7.3-7.5 8.5C7.7 19.3 4.5 16.5 4.5 12V6z" +
    "M8.8 12l2.3 2.3 4.2-4.6",
  store: "M4.5 6.5c0-3.3 15-3.3 15 0v11c0 3.3-15 3.3-15 0zM4.5 6.5c0 3.3 15 3.3 15 0" +
    "M4.5 12c0 3.3 15 3.3 15 0",
  events: "M3.5 12.500h4l2.5-7 4 13 2.5-6h4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4" +
    "M17.3 17.300l1.4 1.400M5.3 18.700l1.4-1.400M17.3 6.700l1.4-1.4",
  moon: "M19.5 14A8 8 0 0 1 10 4.5 8 8 0 1 0 19.5 14z",
  auto: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  search: "M10.5 4.500a6 6 0 1 0 0 12 6 6 0 0 0 0-12M15 15l5 5",
  close: "M6 6l12 12M18 6 6 18",
  back: "M14.5 5.5 8 12l6.5 6.5",
  next: "m9.5 5.5 6.5 6.5-6.5 6.5",
  more: "M12 5.500v.01M12 12v.01M12 18.500v.01",
  skull: "M12 3.5a7.5 7.5 0 0 0-4.5 13.5v3h9v-3A7.5 7.5 0 0 0 12 3.5M9 11.5v.01M15 11.5v.01M12 17v3",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { readonly name: IconName; readonly size?: number }): JSX.Element {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

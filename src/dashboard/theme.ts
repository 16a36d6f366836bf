// Owns: dark or light: as the system has it, unless somebody has chosen.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { remember, remembered } from "./browser-adapter.ts";
import { Store } from "./live/store.ts";

export const THEMES = ["system", "light", "dark"] as const;
export type ThemeChoice = (typeof THEMES)[number];

export class Theme {
  readonly choice: Store<ThemeChoice>;
  /** What is seen now. */
  readonly shown: Store<"light" | "dark">;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");

  constructor() {
    const before = remembered("theme");
    this.choice = new Store(THEMES.find((theme) => theme === before) ?? "system");
    this.shown = new Store(this.now());
    this.dark.addEventListener("change", () => this.apply());
    this.apply();
  }

  choose(choice: ThemeChoice): void {
    this.choice.set(choice);
    remember("theme", choice);
    this.apply();
  }

  private apply(): void {
    const { dataset } = document.documentElement;
    const choice = this.choice.get();
    if (choice === "system") delete dataset["theme"];
    else dataset["theme"] = choice;
    this.shown.set(this.now());
  }

  private now(): "light" | "dark" {
    const choice = this.choice.get();
    if (choice !== "system") return choice;
    return this.dark.matches ? "dark" : "light";
  }
}

const ThemeContext = createContext<Theme | undefined>(undefined);
export const ThemeProvider = ThemeContext.Provider;

export function useTheme(): Theme {
  return useContext(ThemeContext) ?? new Theme();
}

// Owns: a real browser without a screen for tests of the dashboard: found on this machine, never downloaded.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Beside what was built: for people to look at, kept by nobody. */
const PICTURES = join(ROOT, "dist/test-artifacts/dashboard");
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** @throws Error with what to do on a machine without one */
export async function openBrowser(): Promise<Browser> {
  buildDashboardOnce();
  // Its sandbox wants rights that containers do not give; it visits nothing but this machine.
  return await chromium.launch({ executablePath: findBrowser(), args: ["--no-sandbox", "--disable-gpu"] });
}

function findBrowser(): string {
  for (const name of NAMES) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // ignored: the next name may be there
    }
  }
  throw new Error(`none of ${NAMES.join(", ")} is on this machine: install one, as with "apt-get install chromium"`);
}

/** `npm run build` has made it, unless only the compiler ran. */
function buildDashboardOnce(): void {
  if (existsSync(join(ROOT, "dist/dashboard/index.html"))) return;
  execFileSync(process.execPath, [join(ROOT, "esbuild.config.js")], { cwd: ROOT });
}

export interface Looks {
  readonly size?: "desk" | "phone";
  readonly theme?: "light" | "dark";
}

const SIZES = { desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } } as const;

/** A page, and what went wrong in it. */
export class Visit {
  readonly page: Page;
  /** Lines of the console that say an error, and errors nobody caught. */
  readonly troubles: readonly string[];

  private constructor(page: Page, troubles: readonly string[]) {
    this.page = page;
    this.troubles = troubles;
  }

  static async begin(browser: Browser, { size = "desk", theme = "light" }: Looks = {}): Promise<Visit> {
    const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme });
    const page = await context.newPage();
    const troubles: string[] = [];
    page.on("console", (line) => {
      if (line.type() === "error") troubles.push(line.text());
    });
    page.on("pageerror", (error) => troubles.push(error.message));
    return new Visit(page, troubles);
  }

  async go(api: string, place: string): Promise<void> {
    await this.page.goto(`${api}/#/${place}`);
    await this.page.locator("h1").first().waitFor();
  }

  async picture(name: string): Promise<void> {
    await mkdir(PICTURES, { recursive: true });
    await this.page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }

  async end(): Promise<void> {
    await this.page.context().close();
  }
}

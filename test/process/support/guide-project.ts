// Owns: a page of the guides as a project of its own that has this package installed: its files are those of the page,
// and vitest and tsc run there as its readers run them.
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PROJECT_ROOT } from "../../tidy/project.ts";

/** A line that begins or ends with the name of a file and ends with a colon, then its content. */
const FILE = /`([\w./-]+\.(?:ts|json))`[^\n`]*(?:\n[^\n]+)*?:\n\n```(?:ts|json)\n([\s\S]*?)^```/gm;
const TSCONFIG = {
  compilerOptions: {
    target: "ES2022",
    lib: ["ES2023", "ESNext.Disposable"],
    module: "NodeNext",
    types: ["node"],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
  },
};

export interface PageFile {
  readonly path: string;
  readonly text: string;
}

export interface Run {
  readonly exitCode: number | null;
  readonly output: string;
}

export class GuideProject {
  readonly pageFiles: readonly PageFile[];
  private readonly directory: string;

  private constructor(directory: string, pageFiles: readonly PageFile[]) {
    this.directory = directory;
    this.pageFiles = pageFiles;
  }

  /** `page`: from the root of the repository. Needs `dist`. */
  static async open(page: string): Promise<GuideProject> {
    const text = await readFile(join(PROJECT_ROOT, page), "utf8");
    const directory = await mkdtemp(join(tmpdir(), "aether-guide-"));
    const installed = join(directory, "node_modules/aether");
    await mkdir(installed, { recursive: true });
    for (const part of ["package.json", "dist"]) {
      await cp(join(PROJECT_ROOT, part), join(installed, part), { recursive: true });
    }
    await symlink(join(PROJECT_ROOT, "node_modules"), join(installed, "node_modules"));
    for (const name of ["vitest", "zod", "typescript", "@types"]) {
      await symlink(join(PROJECT_ROOT, "node_modules", name), join(directory, "node_modules", name));
    }
    await writeFile(join(directory, "package.json"), JSON.stringify({ name: "guide", type: "module", private: true }));
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify(TSCONFIG));
    const files = [...text.matchAll(FILE)].map(([, path = "", file = ""]): PageFile => ({ path, text: file }));
    return new GuideProject(directory, files);
  }

  /** Later files of the page replace earlier ones of the same name. */
  async write(files: readonly PageFile[]): Promise<void> {
    for (const { path, text } of files) {
      await mkdir(dirname(join(this.directory, path)), { recursive: true });
      await writeFile(join(this.directory, path), text);
    }
  }

  runTests(...files: readonly string[]): Promise<Run> {
    return this.run("vitest/vitest.mjs", ["run", ...files]);
  }

  compile(): Promise<Run> {
    return this.run("typescript/lib/tsc.js", ["-p", "tsconfig.json"]);
  }

  async close(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }

  private run(script: string, args: readonly string[]): Promise<Run> {
    return new Promise((resolve, reject) => {
      const { directory: cwd } = this;
      const env = { PATH: process.env["PATH"] ?? "", NO_COLOR: "1" };
      const child = spawn(process.execPath, [join(cwd, "node_modules", script), ...args], { cwd, env });
      let output = "";
      const hear = (text: Buffer): void => void (output += text.toString());
      child.stdout.on("data", hear);
      child.stderr.on("data", hear);
      child.on("error", reject);
      child.on("close", (exitCode) => resolve({ exitCode, output }));
    });
  }
}

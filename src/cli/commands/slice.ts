// Owns: `aether slice build | push | list | delete`, and the group of all commands of slices.
import { mkdir, stat, writeFile } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { z } from "zod";
import type { ArtifactId } from "../../base/ids.ts";
import { archiveNameOf, artifactOfArchiveName, manifestNameOf } from "../../sdk/archive-name.ts";
import type { CliIo } from "../cli-io.ts";
import { apiPath, openSession, type Session } from "../options.ts";
import { table } from "../table.ts";
import { readBytes } from "../text-input.ts";
import { UsageError } from "../usage-error.ts";
import { addIndexCommand } from "./slice-index.ts";
import { addLogsCommand } from "./slice-logs.ts";
import { addScaleCommand } from "./slice-scale.ts";

const ARTIFACTS = "/v1/artifacts";
const PUSH_TIMEOUT_MS = 120_000;
const PUSH_EXAMPLES = `
Examples:
  $ aether slice push ./orders ./pricing
  $ aether slice push demo.orders-1.0.0.slice`;

const pushedSchema = z.object({ artifact: z.string(), digest: z.string() });
const listedSchema = z.looseObject({
  artifact: z.string(),
  digest: z.string().optional(),
  bytes: z.number().optional(),
  neededBy: z.array(z.string()).optional(),
  damage: z.string().optional(),
});
const listSchema = z.object({ artifacts: z.array(listedSchema) });
const deletedSchema = z.object({ artifact: z.string() });

interface Archive {
  readonly artifact: string;
  readonly bytes: Uint8Array;
}

export function addSliceCommands(program: Command, io: CliIo): void {
  const slice = program.command("slice").description("build and push slices, see what they say, scale them");
  addBuild(slice, io);
  addPush(slice, io);
  addIndexCommand(slice, io);
  addList(slice, io);
  addDelete(slice, io);
  addLogsCommand(slice, io);
  addScaleCommand(slice, io);
}

function addBuild(slice: Command, io: CliIo): void {
  slice
    .command("build")
    .description("bundle a slice and its manifest into one archive; the same sources give the same bytes")
    .argument("<directory>", "directory of the slice")
    .option("--out <directory>", "where the archive goes (default: DIRECTORY/dist)")
    .addHelpText("after", "\nExample:\n  $ aether slice build ./orders")
    .action(async (directory: string, flags: { readonly out?: string }, command: Command) => {
      const session = openSession(command, io);
      const built = await build(io, directory);
      const out = resolve(io.cwd, flags.out ?? join(directory, "dist"));
      const file = join(out, archiveNameOf(built.artifact));
      await mkdir(out, { recursive: true });
      await writeFile(file, built.archive);
      const manifest = join(out, manifestNameOf(built.artifact));
      await writeFile(manifest, `${JSON.stringify(built.manifest, undefined, 2)}\n`);
      const result = { artifact: built.artifact, digest: built.digest, file, bytes: built.archive.byteLength };
      session.show(result, ({ artifact, bytes }) => `${artifact}: ${relative(io.cwd, file)}, ${bytes} bytes`);
    });
}

function addPush(slice: Command, io: CliIo): void {
  slice
    .command("push")
    .description("store slices in the cluster: directories are built first, .slice files sent as they are")
    .argument("<paths...>", "directories of slices, or archives that `slice build` made")
    .addHelpText("after", PUSH_EXAMPLES)
    .action(async (paths: readonly string[], _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      for (const path of paths) {
        const pushed = await push(session, await openArchive(io, path));
        session.show(pushed, ({ artifact, digest }) => `pushed ${artifact} sha256:${digest}`);
      }
    });
}

function addList(slice: Command, io: CliIo): void {
  slice
    .command("list")
    .description("artifacts of the cluster")
    .addHelpText("after", "\nExample:\n  $ aether slice list")
    .action(async (_flags: unknown, command: Command) => {
      const session = openSession(command, io);
      session.show(await session.api.get(listSchema, ARTIFACTS), ({ artifacts }) =>
        artifacts.length === 0
          ? "no artifacts"
          : table(["ARTIFACT", "BYTES", "SHA-256", "NEEDED BY"], artifacts.map(artifactLine)),
      );
    });
}

function artifactLine(listed: z.output<typeof listedSchema>): readonly string[] {
  const { artifact, bytes, digest = "-", neededBy, damage } = listed;
  if (damage !== undefined) return [artifact, "", "-", `push it again: ${damage}`];
  const [first = "-", ...others] = neededBy ?? ["not known now"];
  return [artifact, String(bytes ?? ""), digest, others.length === 0 ? first : `${first} and ${others.length} more`];
}

function addDelete(slice: Command, io: CliIo): void {
  slice
    .command("delete")
    .description("remove an artifact that no blueprint and no instance needs")
    .argument("<artifact>", "group:name:version")
    .addHelpText("after", "\nExample:\n  $ aether slice delete demo:orders:1.0.0")
    .action(async (artifact: string, _flags: unknown, command: Command) => {
      const session = openSession(command, io);
      const deleted = await session.api.request(deletedSchema, "DELETE", apiPath(ARTIFACTS, artifact));
      session.show(deleted, () => `deleted ${artifact}`);
    });
}

async function openArchive(io: CliIo, path: string): Promise<Archive> {
  if (await isDirectory(resolve(io.cwd, path))) {
    io.report(`building ${path}`);
    const built = await build(io, path);
    return { artifact: built.artifact, bytes: built.archive };
  }
  const artifact = artifactOfArchiveName(basename(path));
  if (artifact === undefined) {
    throw new UsageError(`"${path}" is neither a directory nor an archive like demo.orders-1.0.0.slice`);
  }
  return { artifact, bytes: await readBytes(io, path) };
}

function push(session: Session, archive: Archive): Promise<z.output<typeof pushedSchema>> {
  return session.api.request(pushedSchema, "PUT", apiPath(ARTIFACTS, archive.artifact), {
    body: Buffer.from(archive.bytes),
    headers: { "content-type": "application/octet-stream" },
    timeoutMs: PUSH_TIMEOUT_MS,
  });
}

// Loaded on demand: only building needs the bundler.
async function build(io: CliIo, directory: string): Promise<BuiltSlice> {
  const { buildSlice } = await import("../../slices/build/build-slice.ts");
  return buildSlice({ directory: resolve(io.cwd, directory) });
}

interface BuiltSlice {
  readonly artifact: ArtifactId;
  readonly digest: string;
  readonly archive: Uint8Array;
  readonly manifest: unknown;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    // ignored: what cannot be looked at is no directory, and reading it tells why
    return false;
  }
}

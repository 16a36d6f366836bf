#!/usr/bin/env node
// Owns: the entry of the command line.
import { createProcessIo } from "./process-io.ts";
import { runCli } from "./program.ts";

process.exitCode = await runCli(process.argv.slice(2), createProcessIo());

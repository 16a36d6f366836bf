// Owns: the group of all commands of jobs.
import type { Command } from "commander";
import type { CliIo } from "../../cli-io.ts";
import { addApprovalsCommand, addDecisionCommands } from "./approvals.ts";
import { addBudgetCommand } from "./budget.ts";
import { addCancelCommand } from "./cancel.ts";
import { addMoveCommand, addReplayCommand } from "./code.ts";
import { addListCommand } from "./list.ts";
import { addForkCommand, addRetryCommand } from "./repeat.ts";
import { addReleaseCommand } from "./release.ts";
import { addShowCommand } from "./show.ts";
import { addStartCommand, addWaitCommand } from "./start.ts";
import { addStreamCommand } from "./stream.ts";
import { addResolveCommand, addSignalCommand } from "./tell.ts";
import { addTraceCommand } from "./trace.ts";
import { addExportCommand, addVerifyCommand } from "./verify.ts";

export function addJobCommands(program: Command, io: CliIo): void {
  const job = program.command("job").description("start jobs of agents, look at them, tell them something");
  addStartCommand(job, io);
  addWaitCommand(job, io);
  addListCommand(job, io);
  addShowCommand(job, io);
  addTraceCommand(job, io);
  addStreamCommand(job, io);
  addSignalCommand(job, io);
  addApprovalsCommand(job, io);
  addDecisionCommands(job, io);
  addCancelCommand(job, io);
  addBudgetCommand(job, io);
  addResolveCommand(job, io);
  addRetryCommand(job, io);
  addForkCommand(job, io);
  addReplayCommand(job, io);
  addMoveCommand(job, io);
  addReleaseCommand(job, io);
  addExportCommand(job, io);
  addVerifyCommand(job, io);
}

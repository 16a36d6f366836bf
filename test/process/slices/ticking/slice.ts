// An agent of which a job starts each minute.
import { defineAgent } from "aether/slice";
import { z } from "zod";

export default defineAgent({
  name: "ticking",
  input: z.object({ file: z.string() }),
  output: z.object({ seen: z.string() }),
  schedules: { minutely: { cron: "* * * * *", input: { file: "books" } } },
  run: async (job, { file }) => ({ seen: await job.step("look", () => file.toUpperCase()) }),
});

// A part of the seeds, in a file of its own so that two workers share the work.
import { testChaos } from "./chaos-suite.ts";

testChaos("seeds 1001 to 1500", { first: 1001, count: 500 });

// A part of the seeds, in a file of its own so that two workers share the work.
import { testChaos } from "./chaos-suite.ts";

testChaos("seeds 501 to 1000", { first: 501, count: 500 });

// A part of the seeds, in a file of its own so that two workers share the work.
import { testChaos } from "./chaos-suite.ts";

testChaos("seeds 1501 to 2000", { first: 1501, count: 500 });

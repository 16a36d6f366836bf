// The second half of the seeds, in a file of its own so that two workers share the work.
import { testChaos } from "./chaos-suite.ts";

testChaos("seeds 251 to 500", { first: 251, count: 250 });

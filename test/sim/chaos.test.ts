import { testChaos } from "./chaos-suite.ts";

testChaos("seeds 1 to 500", { first: 1, count: 500 });

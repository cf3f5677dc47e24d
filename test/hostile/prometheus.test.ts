import { PROMETHEUS } from "./prometheus.ts";
import { runBehaviours } from "./run-behaviours.ts";

// Answers of the query API; test/integration/worst-remote-reads.test.ts has those of remote read.
runBehaviours(PROMETHEUS, { environment: { REMOTE_READ: "off" } });

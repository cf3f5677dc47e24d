import { COLLECTOR, COLLECTOR_ENVIRONMENT } from "./collector.ts";
import { runBehaviours } from "./run-behaviours.ts";

runBehaviours(COLLECTOR, { environment: COLLECTOR_ENVIRONMENT });

import { PROMETHEUS } from "./prometheus.ts";
import { runBehaviours } from "./run-behaviours.ts";

runBehaviours(PROMETHEUS);

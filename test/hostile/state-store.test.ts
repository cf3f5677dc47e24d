import { runBehaviours } from "./run-behaviours.ts";
import { STATE_STORE } from "./state-store.ts";

runBehaviours(STATE_STORE, { withDapr: true, environment: { CLUSTER_DEADLINE: "35" } });

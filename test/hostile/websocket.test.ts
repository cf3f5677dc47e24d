import { runBehaviours } from "./run-behaviours.ts";
import { WEBSOCKET } from "./websocket.ts";

runBehaviours(WEBSOCKET);

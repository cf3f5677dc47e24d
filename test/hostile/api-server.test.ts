import { API_SERVER } from "./api-server.ts";
import { runBehaviours } from "./run-behaviours.ts";

runBehaviours(API_SERVER);

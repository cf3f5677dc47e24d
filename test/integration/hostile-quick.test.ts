import { API_SERVER } from "../hostile/api-server.ts";
import { COLLECTOR, COLLECTOR_ENVIRONMENT } from "../hostile/collector.ts";
import { PROMETHEUS } from "../hostile/prometheus.ts";
import { runBehaviours } from "../hostile/run-behaviours.ts";
import { WEBSOCKET } from "../hostile/websocket.ts";

// Some of the hostile suite, all through one program; `npm run test:hostile` runs all of it.

const ALL = { "API server": API_SERVER, WebSocket: WEBSOCKET, Prometheus: PROMETHEUS, Collector: COLLECTOR };
const quick = Object.entries(ALL).flatMap(([who, behaviours]) =>
  behaviours.filter((each) => each.quick).map((each) => ({ ...each, name: `${who} ${each.name}` })),
);

runBehaviours(quick, { environment: { ...COLLECTOR_ENVIRONMENT, REMOTE_READ: "off" } });

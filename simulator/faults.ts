import type { ApiFault, Fault, PrometheusFault, TunnelFault } from "./fault-kinds.ts";

/** One request that a part of a simulated cluster saw. */
interface SeenRequest {
  layer: Fault["layer"];
  /** "get services", "connect", or a path of Prometheus' API. */
  what: string;
  /** Kubernetes user; null when the token is not one of this cluster's. */
  user?: string | null;
  /** PromQL. */
  query?: string;
  /** When it came, of a request to Prometheus. */
  atMs?: number;
  /** X-Scope-OrgID of a request to Prometheus: who asks, where several do. */
  orgId?: string;
  /** The times that a remote read asks for, both ends included, ms. */
  span?: { fromMs: number; toMs: number };
}

/** Requests to a simulated cluster since the start or the last `forget`. */
interface Traffic {
  /** Requests by layer. */
  api: number;
  tunnel: number;
  prometheus: number;
  /** Requests with a token that this cluster does not know: another cluster's, an old one. */
  strangers: number;
  /** The newest, oldest first; at most 10,000. */
  requests: readonly SeenRequest[];
}

/** Faults on demand, and what was asked, cluster by cluster. */
export interface Faults {
  /**
   * These are now the cluster's faults, instead of any before. The first one that matches a request hits it.
   */
  set(clusterId: string, ...faults: Fault[]): Promise<void>;
  /** Applies to one cluster, or to all. */
  clear(clusterId?: string): Promise<void>;
  traffic(clusterId: string): Traffic;
  /** Resets the counts. */
  forget(clusterId: string): void;
}

/** A cluster's own side of it. */
export interface FaultSource {
  /** The fault that hits this API request, if any; counts against its limits. */
  ofApi(resource: string): ApiFault | undefined;
  ofTunnel(): TunnelFault | undefined;
  ofPrometheus(path: string, query: string): PrometheusFault | undefined;
  /** Faults that hold for the API server as a whole. */
  ofServer(): ApiFault | undefined;
  saw(request: SeenRequest): void;
}

interface Board {
  faults: { fault: Fault; seen: number }[];
  traffic: { api: number; tunnel: number; prometheus: number; strangers: number; requests: SeenRequest[] };
}

const REQUESTS_KEPT = 10_000;
const WHOLE_SERVER = new Set(["refuse", "mute", "tls"]);

export interface FaultBoard extends Faults {
  source(clusterId: string): FaultSource;
  /** Called after the faults of a cluster changed, before `set` and `clear` resolve. */
  onChange(clusterId: string, run: () => Promise<void>): void;
}

export function createFaultBoard(): FaultBoard {
  const boards = new Map<string, Board>();
  const listeners = new Map<string, () => Promise<void>>();
  const board = (clusterId: string): Board => {
    const found = boards.get(clusterId);
    if (!found) throw new Error(`the simulator has no cluster ${JSON.stringify(clusterId)}`);
    return found;
  };
  const change = async (clusterId: string, faults: Fault[]): Promise<void> => {
    board(clusterId).faults = faults.map((fault) => ({ fault, seen: 0 }));
    await listeners.get(clusterId)?.();
  };
  return {
    set: async (clusterId, ...faults) => change(clusterId, faults),
    clear: async (clusterId) => {
      for (const id of clusterId === undefined ? boards.keys() : [clusterId]) await change(id, []);
    },
    traffic: (clusterId) => ({
      ...board(clusterId).traffic,
      requests: [...board(clusterId).traffic.requests],
    }),
    forget: (clusterId) => {
      board(clusterId).traffic = emptyTraffic();
    },
    onChange: (clusterId, run) => void listeners.set(clusterId, run),
    source: (clusterId) => {
      const own: Board = boards.get(clusterId) ?? { faults: [], traffic: emptyTraffic() };
      boards.set(clusterId, own);
      return createSource(own);
    },
  };
}

function emptyTraffic(): Board["traffic"] {
  return { api: 0, tunnel: 0, prometheus: 0, strangers: 0, requests: [] };
}

function createSource(board: Board): FaultSource {
  const take = <T extends Fault>(matches: (fault: Fault) => fault is T): T | undefined => {
    for (const entry of board.faults) {
      if (!matches(entry.fault)) continue;
      const turn = entry.seen++ - (entry.fault.skip ?? 0);
      if (turn >= 0 && turn < (entry.fault.times ?? Number.POSITIVE_INFINITY)) return entry.fault;
    }
    return undefined;
  };
  return {
    ofApi: (resource) =>
      take(
        (fault): fault is ApiFault =>
          fault.layer === "api" &&
          !WHOLE_SERVER.has(fault.kind) &&
          (fault.resource === undefined || fault.resource === resource),
      ),
    ofTunnel: () => take((fault): fault is TunnelFault => fault.layer === "tunnel"),
    ofPrometheus: (path, query) =>
      take(
        (fault): fault is PrometheusFault =>
          fault.layer === "prometheus" &&
          (fault.path === undefined || fault.path === path) &&
          (fault.query === undefined || query.includes(fault.query)),
      ),
    ofServer: () => {
      const found = board.faults.find(({ fault }) => fault.layer === "api" && WHOLE_SERVER.has(fault.kind));
      return found?.fault.layer === "api" ? found.fault : undefined;
    },
    saw: (request) => {
      const { traffic } = board;
      traffic[request.layer]++;
      if (request.user === null) traffic.strangers++;
      traffic.requests.push(request);
      if (traffic.requests.length > REQUESTS_KEPT) traffic.requests.splice(0, REQUESTS_KEPT / 10);
    },
  };
}

import type { Cast } from "./cast.ts";
import type { StoreFault, StoreRequest } from "./dapr.ts";
import type { Link, LinkFault } from "./link.ts";
import { SECOND, type ChaosWorld } from "./world.ts";

/** One fault that strikes while a seed is played. */
export interface PlannedFault {
  kind: FaultKind;
  atMs: number;
  forMs: number;
  machine: number;
  /** The number of a cluster. */
  cluster: number;
}

interface FaultContext {
  world: ChaosWorld;
  cast: Cast;
  fault: PlannedFault;
  clusterId: string;
  /** The fault had an effect. */
  struck: () => void;
  /** Runs at the end of the fault. */
  atEnd: (end: () => void) => void;
  /** After so many ms. */
  after: (ms: number, run: () => void) => void;
}

type Begin = (context: FaultContext) => void;

const onLink =
  (linkOf: (context: FaultContext) => Link, kinds: readonly LinkFault[], slowMs = 0): Begin =>
  (context) => {
    const link = linkOf(context);
    const { struck } = context;
    for (const kind of kinds) {
      if (kind === "slow") link.slow = { struck, ms: slowMs };
      else link[kind] = { struck };
      context.atEnd(() => link.heal(kind));
    }
  };

const storeLink = ({ world, fault }: FaultContext): Link => world.links[fault.machine]!.store;
const collectorLink = ({ world, fault }: FaultContext): Link => world.links[fault.machine]!.collector;
/** The owner's. */
const clusterLink = ({ world, cast, fault, clusterId }: FaultContext): Link => {
  const owner = cast.replicas.find((replica) => replica?.replicas.holds(clusterId));
  return world.links[owner?.machine ?? fault.machine]!.cluster(clusterId);
};

/** The store fails as `choose` says, for every replica. */
const onStore =
  (choose: (request: StoreRequest, random: () => number) => StoreFault | undefined): Begin =>
  ({ world, struck, atEnd }) => {
    const chooser = (request: StoreRequest): StoreFault | undefined => {
      const fault = choose(request, world.random);
      if (fault) struck();
      return fault;
    };
    world.faults.store.add(chooser);
    atEnd(() => world.faults.store.delete(chooser));
  };

const onSink =
  (status: 429 | 503): Begin =>
  ({ world, struck, atEnd }) => {
    const refuse = { status, struck };
    world.faults.sink.add(refuse);
    atEnd(() => world.faults.sink.delete(refuse));
  };

const conflictsAnswered =
  (status: 409 | 500): Begin =>
  ({ world, struck, atEnd }) => {
    const answer = { status, struck };
    world.faults.conflicts.add(answer);
    atEnd(() => world.faults.conflicts.delete(answer));
  };

const onTicks =
  (deliveries: number): Begin =>
  ({ world, fault, struck, atEnd }) => {
    const calls = { machine: fault.machine, deliveries, struck };
    world.faults.calls.add(calls);
    atEnd(() => world.faults.calls.delete(calls));
  };

/** Prometheus is down for the fault's time, and does not scrape. */
const goDown = ({ world, clusterId, struck, atEnd }: FaultContext): void => {
  const source = world.sources.get(clusterId)!;
  const fromMs = world.hosts.now();
  const downtime: [number, number] = [fromMs, Infinity];
  source.downtimes.push(downtime);
  atEnd(() => {
    downtime[1] = world.hosts.now();
    if (downtime[1] - fromMs >= 15 * SECOND) struck();
  });
};

const FAULTS = {
  "kill -9": ({ cast, fault, struck, atEnd }) => {
    cast.replicas[fault.machine]?.host.kill();
    if (cast.replicas[fault.machine]) struck();
    cast.replicas[fault.machine] = undefined;
    atEnd(() => void cast.start(fault.machine));
  },
  restart: ({ world, cast, fault, struck, after }) => {
    const replica = cast.replicas[fault.machine];
    if (!replica) return;
    struck();
    cast.replicas[fault.machine] = undefined;
    world.hosts.at(0, () => void replica.stop(), replica.host);
    after(10 * SECOND, () => {
      replica.host.kill();
      void cast.start(fault.machine);
    });
  },
  "pause longer than the lease": ({ world, cast, fault, struck, after }) => {
    const replica = cast.replicas[fault.machine];
    if (!replica) return;
    replica.host.pause();
    struck();
    after(45 * SECOND + world.random() * 50 * SECOND, () => replica.host.resume());
  },
  "a machine is suspended": ({ world, cast, fault, struck, after }) => {
    const replica = cast.replicas[fault.machine];
    if (!replica) return;
    replica.host.suspend();
    struck();
    after(30 * SECOND + world.random() * 60 * SECOND, () => replica.host.resume());
  },
  "requests to the store are lost": onLink(storeLink, ["requests"]),
  "answers of the store are lost": onLink(storeLink, ["answers"]),
  "no way to the store": onLink(storeLink, ["requests", "answers"]),
  "requests to the Collector are lost": onLink(collectorLink, ["requests"]),
  "answers of the Collector are lost": onLink(collectorLink, ["answers"]),
  "no way to the Collector": onLink(collectorLink, ["requests", "answers"]),
  "requests to a cluster are lost": onLink(clusterLink, ["requests"]),
  "answers of a cluster are lost": onLink(clusterLink, ["answers"]),
  "no way to a cluster": onLink(clusterLink, ["requests", "answers"]),
  "the store is slow": onLink(storeLink, ["slow"], 3 * SECOND),
  "the store hangs": onStore(() => ({ kind: "hangs" })),
  "the store fails": onStore((_request, random) => (random() < 0.5 ? { kind: "fails" } : undefined)),
  "writes are done and not answered": onStore(({ kind }, random) => {
    if (kind === "read" || random() < 0.5) return undefined;
    return { kind: random() < 0.5 ? "unheard" : "hangs-done" };
  }),
  "writes are lost": onStore(({ kind }, random) =>
    kind === "read" || random() < 0.5 ? undefined : { kind: "hangs" },
  ),
  "bulk reads are stale": onStore(({ kind }, random) =>
    kind === "read" && random() < 0.3 ? { kind: "stale", agoMs: 3000 * random() } : undefined,
  ),
  "conflicts are answered with 409": conflictsAnswered(409),
  "conflicts are answered with 500": conflictsAnswered(500),
  "deliveries arrive twice": onLink(collectorLink, ["twice"]),
  "deliveries are lost": onLink(collectorLink, ["lossy"]),
  "the Collector answers 429": onSink(429),
  "the Collector answers 503": onSink(503),
  "clocks differ by 10 s": ({ world, cast, struck }) => {
    const offsets = [-5 * SECOND, 5 * SECOND, 0];
    const turn = Math.floor(world.random() * offsets.length);
    for (const [i, replica] of cast.replicas.entries()) {
      world.skewsMs[i] = offsets[(i + turn) % offsets.length]!;
      if (replica) replica.host.skewMs = world.skewsMs[i];
    }
    struck();
  },
  "Prometheus restarts": goDown,
  "the Pod moves": (context) => {
    goDown(context);
    const { world, clusterId, atEnd } = context;
    const source = world.sources.get(clusterId)!;
    const isVolumeLost = world.random() < 0.3;
    atEnd(() => {
      source.pod = { uid: `${source.pod.uid}+`, name: source.pod.name };
      if (isVolumeLost) source.oldestMs = world.hosts.now();
    });
  },
  "a cluster is added": ({ cast, fault, struck }) =>
    void cast.add(`added-${fault.cluster}-${fault.machine}`).then(struck),
  "a cluster is changed": ({ cast, clusterId, struck }) =>
    void cast.rename(clusterId, `${clusterId} renamed`).then(struck),
  "a cluster is deleted": ({ cast, clusterId, struck }) => void cast.remove(clusterId).then(struck),
  "a call of the cron is lost": onTicks(0),
  "a call of the cron comes twice": onTicks(2),
} satisfies Record<string, Begin>;

export type FaultKind = keyof typeof FAULTS;

export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

export function beginFault(context: FaultContext): void {
  const begin: Begin = FAULTS[context.fault.kind];
  begin(context);
}

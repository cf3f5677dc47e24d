import { createChaosStore, type ChaosStore, type StoreFault, type StoreRequest } from "./dapr.ts";
import { createLink, type Fault, type Link } from "./link.ts";
import { createSink, type Sink } from "./sink.ts";
import type { Source } from "./source.ts";
import { createVirtualHosts, type VirtualHosts } from "./virtual-hosts.ts";

/** A whole minute. */
export const START = 1_700_000_040_000;
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const INTERVAL = 60 * SECOND;
export const LAG = 15 * SECOND;
export const METRICS = ["node_load1", "node_cpu_seconds_total"];

/** Everything around the replicas. */
export interface ChaosWorld {
  hosts: VirtualHosts;
  random: () => number;
  store: ChaosStore;
  sink: Sink;
  /** By cluster. A deleted cluster's stays. */
  sources: Map<string, Source>;
  /** The ways from a machine, by its number: they are the same when another process runs there. */
  links: Links[];
  /** The wall clocks of the machines minus true time. */
  skewsMs: number[];
  faults: ActiveFaults;
}

/** What is on now. */
interface ActiveFaults {
  store: Set<(request: StoreRequest) => StoreFault | undefined>;
  sink: Set<Fault & { status: 429 | 503 }>;
  conflicts: Set<Fault & { status: 409 | 500 }>;
  /** How often a call of the cron reaches a machine. */
  calls: Set<Fault & { machine: number; deliveries: number }>;
}

export interface Links {
  store: Link;
  collector: Link;
  cluster(id: string): Link;
}

export function createChaosWorld(random: () => number, machines: number): ChaosWorld {
  const hosts = createVirtualHosts(START);
  const faults: ActiveFaults = {
    store: new Set(),
    sink: new Set(),
    conflicts: new Set(),
    calls: new Set(),
  };
  const store = createChaosStore(() => hosts.now());
  const sink = createSink();
  store.onRequest = (request) => firstOf(faults.store, (choose) => choose(request));
  store.conflictStatus = () => firstOf(faults.conflicts, strike)?.status ?? 409;
  store.isOvertaken = () => faults.conflicts.size > 0 && random() < 0.2;
  sink.onRequest = () => firstOf(faults.sink, strike)?.status;
  return {
    hosts,
    random,
    store,
    sink,
    sources: new Map(),
    links: Array.from({ length: machines }, () => createLinks(hosts, random)),
    skewsMs: Array.from({ length: machines }, () => 0),
    faults,
  };
}

function strike<T extends Fault>(fault: T): T {
  fault.struck();
  return fault;
}

function firstOf<T, R>(all: Iterable<T>, ask: (each: T) => R | undefined): R | undefined {
  for (const each of all) {
    const answer = ask(each);
    if (answer !== undefined) return answer;
  }
  return undefined;
}

/** How often this call of the cron reaches the machine. */
export function deliveriesTo({ faults }: ChaosWorld, machine: number): number {
  const fault = [...faults.calls].find((each) => each.machine === machine);
  fault?.struck();
  return fault?.deliveries ?? 1;
}

function createLinks(hosts: VirtualHosts, random: () => number): Links {
  const clusters = new Map<string, Link>();
  return {
    store: createLink(hosts, random, { minMs: 1, maxMs: 20 }),
    collector: createLink(hosts, random, { minMs: 20, maxMs: 300 }),
    cluster: (id) => {
      const link = clusters.get(id) ?? createLink(hosts, random, { minMs: 20, maxMs: 400 });
      clusters.set(id, link);
      return link;
    },
  };
}

import { createRandom } from "../helpers/random.ts";
import { createCast, type Cast } from "./cast.ts";
import { beginFault, FAULT_KINDS, type FaultKind, type PlannedFault } from "./faults.ts";
import type { ReplicaOptions } from "./replica.ts";
import { createVerdict } from "./verdict.ts";
import { createChaosWorld, deliveriesTo, INTERVAL, MINUTE, SECOND, START, type ChaosWorld } from "./world.ts";

export interface PlayOptions extends ReplicaOptions {
  /** Only these kinds of faults. */
  kinds?: readonly FaultKind[];
  replicas?: number;
}

/** What happened under one seed. */
export interface Played {
  seed: number;
  plan: PlannedFault[];
  struck: FaultKind[];
  violations: string[];
  /** Each change of an owner. */
  trace: string[];
  events: number;
}

const REPLICAS = 3;
const CLUSTERS = 3;
const FAULTS_OF_SEED = 9;
/** Faults begin in this time; none lasts longer than 95 s, so that four calls of the cron come after all of them. */
const FAULTS_FROM = 75 * SECOND;
const FAULTS_TO = 5 * MINUTE;
/** About what a collection takes. */
const COLLECTION_MS = 3 * SECOND;
/** The last call of the cron is at the minute before it. */
const END = 10 * MINUTE + 45 * SECOND;

/** Plays a seed: the same faults at the same times in each run. */
export async function play(seed: number, options: PlayOptions = {}): Promise<Played> {
  const random = createRandom(seed);
  const replicas = options.replicas ?? REPLICAS;
  const world = createChaosWorld(random, replicas);
  const { hosts } = world;
  const cast = createCast(world, replicas, options);
  const verdict = createVerdict(world, cast);
  const plan = planFaults(random, replicas, options.kinds ?? FAULT_KINDS);
  const struck = new Set<FaultKind>();
  for (let machine = 0; machine < replicas; machine++)
    await hosts.runFor(cast.start(machine), START + MINUTE);
  for (let i = 0; i < CLUSTERS; i++) await hosts.runFor(cast.add(nameOf(seed, i)), START + MINUTE);
  for (let at = START + INTERVAL; at <= START + END; at += INTERVAL) hosts.at(at, () => callAll(world, cast));
  for (const fault of plan)
    hosts.at(fault.atMs, () => begin(world, cast, seed, fault, () => struck.add(fault.kind)));
  await hosts.runUntil(START + END);
  await verdict.look();
  return {
    seed,
    plan,
    struck: [...struck],
    violations: verdict.violations,
    trace: verdict.trace,
    events: hosts.events(),
  };
}

/** Each seed has others: the hash of the names says which replica owns them. */
function nameOf(seed: number, cluster: number): string {
  return `cluster-${seed}-${cluster}`;
}

function planFaults(random: () => number, replicas: number, kinds: readonly FaultKind[]): PlannedFault[] {
  const deck = kinds.map((kind) => ({ kind, order: random() })).sort((a, b) => a.order - b.order);
  return deck.slice(0, FAULTS_OF_SEED).map(({ kind }) => ({
    kind,
    atMs: timeOfFault(random),
    forMs: Math.round(62 * SECOND + random() * 30 * SECOND),
    machine: Math.floor(random() * replicas),
    cluster: Math.floor(random() * CLUSTERS),
  }));
}

/** Half of the faults begin while clusters are collected. */
function timeOfFault(random: () => number): number {
  const ms = FAULTS_FROM + random() * (FAULTS_TO - FAULTS_FROM);
  const tickMs = Math.ceil(ms / INTERVAL) * INTERVAL;
  return Math.round(START + (random() < 0.5 ? ms : tickMs + random() * COLLECTION_MS));
}

function begin(world: ChaosWorld, cast: Cast, seed: number, fault: PlannedFault, struck: () => void): void {
  const { hosts } = world;
  const after = (ms: number, run: () => void): void => void hosts.at(hosts.now() + ms, run);
  const atEnd = (end: () => void): void => after(fault.forMs, end);
  beginFault({ world, cast, fault, clusterId: nameOf(seed, fault.cluster), struck, atEnd, after });
}

/** Dapr's cron calls every replica. */
function callAll(world: ChaosWorld, cast: Cast): void {
  for (const [machine, replica] of cast.replicas.entries()) {
    for (let i = deliveriesTo(world, machine); i > 0; i--)
      world.hosts.at(0, () => void replica?.rounds.start("dapr").catch(() => {}), replica?.host);
  }
}

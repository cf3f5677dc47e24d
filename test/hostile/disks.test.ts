import {
  chmodSync,
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { RoundResult } from "#collect/status.ts";
import { startSimulator, type Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild, type ChildOptions } from "../helpers/bridge-child.ts";
import { apiEnvironment } from "../helpers/clusters-api.ts";
import { compareWithExpected, noDifferences } from "../helpers/expected-samples.ts";
import { startOtlpCollector, type OtlpCollector } from "../helpers/otlp-collector.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { bridgeEnvironment, readProgressRecord } from "../helpers/test-bridge.ts";

// Disks and limits of the operating system that turn against the program in the role bridge: it names them, loses nothing, and goes on when
// they are gone. Needs root, util-linux (unshare, setpriv) and a shell.

const CLUSTERS = 3;
const NOBODY = 65_534;
const DISK_MIB = 8;
/** sysexits.h EX_CONFIG: starting again does not help. */
const EXIT_CONFIG = 78;
const SHAPE = { nodes: 1, pods: 2, cpus: 1, gpus: 0, scrapeIntervalMs: 1000, jitterMs: 20, lateMs: 5000 };
const folder = createTemporaryFolder();

let simulator: Simulator;
let collector: OtlpCollector;

beforeAll(async () => {
  simulator = await startSimulator({ clusters: CLUSTERS, shape: SHAPE });
  collector = await startOtlpCollector();
});

beforeEach(() => collector.acknowledged.clear());

afterAll(async () => {
  await collector.stop();
  await simulator.stop();
});

interface Place {
  directory: string;
  data: string;
  environment: Record<string, string>;
}

function createPlace(): Place {
  const directory = mkdtempSync(join(folder, "place-"));
  const data = join(directory, "data");
  const environment = {
    ...bridgeEnvironment(directory, { simulator, collector }),
    INITIAL_LOOKBACK: "30s",
    METRICS_COLLECTION_TIMEOUT: "30",
    EXPORT_TIMEOUT: "30",
    DATA_DIR: data,
  };
  return { directory, data, environment };
}

const errorsOf = ({ clusters }: RoundResult): (string | undefined)[] =>
  clusters.map(({ error }) => error?.code);
const whole = { total: CLUSTERS, successful: CLUSTERS };

async function end(child: BridgeChild): Promise<number | null> {
  child.signal("SIGTERM");
  return await child.ended;
}

/** Ends the program and compares all that is committed with what the clusters had. */
async function expectNothingLost(child: BridgeChild, data: string): Promise<void> {
  expect(await end(child)).toBe(0);
  expect(child.stderr()).toBe("");
  for (const { id, world } of simulator.clusters) {
    const compared = compareWithExpected(collector, world, await readProgressRecord(data, id));
    expect(compared).toEqual(noDifferences(compared.samples));
    expect(compared.samples).toBeGreaterThan(0);
  }
}

const health = async (child: BridgeChild, path = "/healthz"): Promise<number> =>
  (await fetch(`${await child.url}${path}`)).status;

test("a disk that fills up is named; health answers, and nothing is lost when there is space again", async () => {
  const { data, environment } = createPlace();
  mkdirSync(data);
  const mount = `mount -t tmpfs -o size=${DISK_MIB}m,mode=700 tmpfs "${data}" && exec "$@"`;
  const child = startBridgeChild(environment, [], {
    wrapper: ["unshare", "--mount", "sh", "-c", mount, "sh"],
  });
  expect(await child.collect()).toMatchObject(whole);
  const inside = `/proc/${child.pid}/root${data}`;
  const ballast = join(inside, "ballast");
  const fill = (): void => writeFileSync(ballast, Buffer.alloc(DISK_MIB << 20), { flag: "a" });
  expect(fill).toThrow(/ENOSPC/);

  const full = await child.collect();
  expect(new Set(errorsOf(full))).toEqual(new Set(["state_unavailable"]));
  expect(full.clusters[0]?.error?.message).toMatch(/disk under .* is full/);
  expect(await health(child)).toBe(200);

  rmSync(ballast);
  expect(await child.collect()).toMatchObject(whole);
  const copy = join(folder, "from-disk");
  expect(await health(child, "/readyz")).toBe(200);
  cpSync(inside, copy, { recursive: true });
  await expectNothingLost(child, copy);
});

test("files that may not grow are named; the process lives", async () => {
  const { environment } = createPlace();
  const child = startBridgeChild(environment, [], {
    wrapper: ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"],
  });
  const rounds: RoundResult[] = [];
  for (let i = 0; i < 20 && !rounds.some((round) => errorsOf(round).some(Boolean)); i++) {
    rounds.push(await child.collect());
  }
  expect(new Set(errorsOf(rounds.at(-1)!).filter(Boolean))).toEqual(new Set(["state_unavailable"]));
  expect(await health(child)).toBe(200);
  expect(await end(child)).toBe(0);
});

const asNobody: ChildOptions = {
  wrapper: ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"],
};

test("a DATA_DIR that an ordinary user may not write to is named at the start", async () => {
  const { data, environment, directory } = createPlace();
  mkdirSync(data, { mode: 0o500 });
  chownSync(data, NOBODY, NOBODY);
  for (const path of [folder, directory]) chmodSync(path, 0o755);
  const child = startBridgeChild(environment, [], asNobody);
  expect(await child.ended).toBe(1);
  expect(child.stderr()).toMatch(/startup failed \(state_unavailable\):\n.*can't be written\n.*DATA_DIR/);
  expect(readdirSync(data)).toEqual([]);
});

test("a DATA_DIR that becomes read-only is named; what is open goes on", async () => {
  const { data, environment, directory } = createPlace();
  for (const path of [folder, directory]) chmodSync(path, 0o755);
  chownSync(directory, NOBODY, NOBODY);
  const child = startBridgeChild(environment, [], asNobody);
  expect(await child.collect()).toMatchObject(whole);
  chmodSync(data, 0o500);
  for (const name of readdirSync(data)) chmodSync(join(data, name), 0o400);
  expect(await child.collect()).toMatchObject(whole);
  expect(await end(child)).toBe(0);
  const again = startBridgeChild(environment, [], asNobody);
  expect(await again.ended).toBe(1);
  expect(again.stderr()).toMatch(/state_unavailable.*\n.*can't be written/);
});

/** What a disk does to a file: some bits differ. */
function flip(file: string): void {
  const bytes = readFileSync(file);
  for (let i = 0; i < 16; i++) bytes[Math.floor(((i + 0.5) * bytes.length) / 16)]! ^= 0x5a;
  writeFileSync(file, bytes);
}

/** "named": the start ends with the error and its remedy; "whole": as if nothing were wrong. */
async function startOnDamage(environment: Record<string, string>): Promise<string> {
  const child = startBridgeChild(environment);
  const url = await child.url.catch(() => undefined);
  const round = url === undefined ? undefined : await child.collect();
  const code = round ? await end(child) : await child.ended;
  const told = child.stdout() + child.stderr();
  if (/uncaught exception|unhandled promise/.test(told)) return told;
  if (round) return code === 0 && round.successful === CLUSTERS ? "whole" : JSON.stringify(round);
  const isNamed = told.includes("startup failed (state_damaged)") && told.includes(environment["DATA_DIR"]!);
  return code === EXIT_CONFIG && isNamed ? "named" : told;
}

test.each([
  ["ended in good order", "SIGTERM", { "state.sqlite": "named", "registry-copy.sqlite": "named" }],
  // What was written last is in the -wal files alone, whose frames have checksums: it is read from Prometheus again.
  [
    "was killed",
    "SIGKILL",
    {
      "state.sqlite": "whole",
      "state.sqlite-wal": "whole",
      "registry-copy.sqlite": "whole",
      "registry-copy.sqlite-wal": "whole",
    },
  ],
] as const)(
  "flipped bytes in any file of DATA_DIR of a program that %s are named, or harmless",
  async (_how, signal, expected) => {
    const place = createPlace();
    const { CLUSTERS_FILE = "" } = place.environment;
    const environment = { ...place.environment, ...apiEnvironment(place.directory), CLUSTERS_FILE };
    const first = startBridgeChild(environment);
    expect(await first.collect()).toMatchObject(whole);
    first.signal(signal);
    await first.ended;
    const outcomes: Record<string, string> = {};
    for (const name of readdirSync(place.data)) {
      const data = join(folder, `${signal}-${name}`);
      cpSync(place.data, data, { recursive: true });
      flip(join(data, name));
      outcomes[name] = await startOnDamage({ ...environment, DATA_DIR: data });
    }
    expect(outcomes).toEqual(expected);
    expect(collector.conflicts).toEqual([]);
  },
);

test("a clock that is set back a day costs nothing, and is told", async () => {
  const { data, environment } = createPlace();
  const child = startBridgeChild({
    ...environment,
    NODE_OPTIONS: `--import=${resolve("test/hostile/clock-offset.ts")}`,
  });
  const changeClock = (): void => {
    for (const pid of [child.pid, ...child.workers()]) process.kill(pid, "SIGUSR2");
  };
  expect(await child.collect()).toMatchObject(whole);
  changeClock();
  expect(await child.collect()).toMatchObject(whole);
  const { clusters } = await child.status();
  for (const { clock_skew_seconds: skew } of clusters) expect(Math.round(skew! / 3600)).toBe(24);
  expect(clusters[0]!.warnings.join()).toMatch(/clock/);
  expect([await health(child), await health(child, "/readyz")]).toEqual([200, 200]);
  changeClock();
  expect(await child.collect()).toMatchObject(whole);
  await expectNothingLost(child, data);
});

test("40 file descriptors, which a caller takes: the program lives, and loses nothing", async () => {
  const { data, environment } = createPlace();
  const child = startBridgeChild(environment, [], { wrapper: ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh"] });
  expect(await child.collect()).toMatchObject(whole);
  const { port } = new URL(await child.url);
  const sockets = Array.from({ length: 100 }, () => connect(Number(port), "127.0.0.1").on("error", () => {}));
  await Promise.all(sockets.map((socket) => once(socket, "connect")));
  process.kill(child.pid, 0);
  const closed = sockets.map((socket) => once(socket, "close"));
  for (const socket of sockets) socket.destroy();
  await Promise.all(closed);
  expect(await health(child)).toBe(200);
  expect(await child.collect()).toMatchObject(whole);
  await expectNothingLost(child, data);
});

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "#lib/clock.ts";
import { onEndSignal } from "#lib/end-signals.ts";
import { createPrivateFolder } from "#lib/private-folder.ts";
import { startSimulator } from "./simulator.ts";

// SIM_CLUSTERS, SIM_PODS, SIM_SEED: how many and which. SIM_DIR: where clusters.yaml is written, which then stays there. SIM_HOST: the name that other machines reach the
// API servers by. SIM_PROMETHEUS=HOST:PORT: a real Prometheus that the first cluster's port-forward leads to.
// SIM_LINK=BYTES_PER_SECOND:ROUND_TRIP_MS: how slow the port-forwards of each cluster are, all connections of one together.

/** A whole number from the environment; ends the process with exit code 78 when it is none. */
function readNumber(name: string, fallback: number, min: number, max: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  process.stderr.write(`${name}=${JSON.stringify(text)}: a whole number from ${min} to ${max} is allowed\n`);
  return process.exit(78);
}

// From here on a signal waits for the start to be over: its folder is there.
const signalled = onEndSignal({ process, clock: systemClock, exit: (code) => process.exit(code) });
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

const count = readNumber("SIM_CLUSTERS", 3, 1, 300);
const pods = readNumber("SIM_PODS", 12, 0, 100_000);
const seed = process.env["SIM_SEED"] || "1";
const ownFolder = !process.env["SIM_DIR"];
const directory = process.env["SIM_DIR"] || createPrivateFolder("budcluster-simulator-");
mkdirSync(directory, { recursive: true });

/** BYTES_PER_SECOND:ROUND_TRIP_MS from the environment; ends the process with exit code 78 when it is none. */
function readLink(name: string): { bytesPerSecond: number; roundTripMs: number } | undefined {
  const text = process.env[name];
  if (text === undefined || text === "") return undefined;
  const [, bytesPerSecond, roundTripMs] = /^([1-9]\d{0,11}):(\d{1,6})$/.exec(text) ?? [];
  if (bytesPerSecond !== undefined)
    return { bytesPerSecond: Number(bytesPerSecond), roundTripMs: Number(roundTripMs) };
  process.stderr.write(`${name}=${JSON.stringify(text)}: BYTES_PER_SECOND:ROUND_TRIP_MS is allowed\n`);
  return process.exit(78);
}

/** HOST:PORT from the environment; ends the process with exit code 78 when it is none. */
function readAddress(name: string): { host: string; port: number } | undefined {
  const text = process.env[name];
  if (text === undefined || text === "") return undefined;
  const [, host, port] = /^([A-Za-z0-9.-]+):(\d{1,5})$/.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 65_535) return { host, port: Number(port) };
  process.stderr.write(`${name}=${JSON.stringify(text)}: HOST:PORT is allowed\n`);
  return process.exit(78);
}

const hostName = process.env["SIM_HOST"];
const realPrometheus = readAddress("SIM_PROMETHEUS");
const link = readLink("SIM_LINK");
// A program that waits for this file must not find the one of an earlier run.
rmSync(join(directory, "clusters.yaml"), { force: true });

const simulator = await startSimulator({
  clusters: count,
  seed,
  shape: { pods },
  ...(hostName ? { hostName } : {}),
  ...(realPrometheus ? { realPrometheus } : {}),
});
if (link) {
  for (const { id } of simulator.clusters)
    await simulator.faults.set(id, { layer: "tunnel", kind: "slow", ...link });
}

/** Both kinds of files hold tokens, though only of clusters that end with this process. */
function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

const clustersFile = write("clusters.yaml", simulator.clustersFile());
const kubeconfigs = simulator.clusters.map(({ id, kubeconfig }) => write(`${id}.kubeconfig`, kubeconfig));
const rows = simulator.clusters.map(
  ({ id, name, platform, apiServerUrl, prometheusUrl, metricsUrl }) =>
    `  ${id.padEnd(8)} ${name.padEnd(12)} ${platform.padEnd(10)} ${apiServerUrl}  ${prometheusUrl}  ${metricsUrl}`,
);
// Loopback is refused to kubeconfigs that nobody vouches for.
const allowed = hostName ? "" : "API_SERVER_CIDRS=127.0.0.1 ";
process.stdout.write(`Simulated clusters of seed ${seed}
  (id, name, platform, API server, its Prometheus directly, all series as text to scrape)
${rows.join("\n")}

Written to ${directory}: clusters.yaml, and a kubeconfig of each cluster.

Collect from all of them:   ${allowed}CLUSTERS_FILE=${clustersFile} npm start
Look at one with kubectl:   kubectl --kubeconfig ${kubeconfigs[0]} get nodes
Ask a Prometheus directly:  curl '${simulator.clusters[0]?.prometheusUrl}/api/v1/query?query=up'

Ctrl-C ends the simulator${ownFolder ? " and removes the folder" : ""}.
`);

try {
  await signalled;
  await simulator.stop();
} catch (error) {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
}
process.exit(0);

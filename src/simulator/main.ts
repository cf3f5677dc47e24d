import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startSimulator } from "./simulator.ts";

/** A whole number from the environment; ends the process with exit code 78 when it is none. */
function readNumber(name: string, fallback: number, max: number): number {
  const text = process.env[name];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  process.stderr.write(`${name}=${JSON.stringify(text)}: a whole number from 0 to ${max} is allowed\n`);
  return process.exit(78);
}

const count = readNumber("SIM_CLUSTERS", 3, 300);
const pods = readNumber("SIM_PODS", 12, 100_000);
const seed = process.env["SIM_SEED"] ?? "1";
const given = process.env["SIM_DIR"] ?? "";
const directory = given === "" ? mkdtempSync(join(tmpdir(), "simulator-")) : given;
mkdirSync(directory, { recursive: true });

const simulator = await startSimulator({ clusters: count, seed, shape: { pods } });

const clustersFile = join(directory, "clusters.yaml");
// Both hold tokens, though only of clusters that end with this process.
writeFileSync(clustersFile, simulator.clustersFile(), { mode: 0o600 });
for (const cluster of simulator.clusters) {
  writeFileSync(join(directory, `${cluster.id}.kubeconfig`), cluster.kubeconfig, { mode: 0o600 });
}

const rows = simulator.clusters.map(
  ({ id, name, platform, apiServerUrl, prometheusUrl, metricsUrl }) =>
    `  ${id.padEnd(8)} ${name.padEnd(12)} ${platform.padEnd(10)} ${apiServerUrl}  ${prometheusUrl}  ${metricsUrl}`,
);
process.stdout
  .write(`${count} simulated clusters of seed ${seed}: id, name, platform, API server, its Prometheus directly, text to scrape
${rows.join("\n")}

Written to ${directory}: clusters.yaml and a kubeconfig of each cluster.

Collect from all of them:      CLUSTERS_FILE=${clustersFile} npm start
Look at one with kubectl:      kubectl --kubeconfig ${join(directory, `${simulator.clusters[0]?.id ?? "sim-1"}.kubeconfig`)} get nodes
Ask a Prometheus directly:     curl '${simulator.clusters[0]?.prometheusUrl ?? ""}/api/v1/query?query=up'

Ctrl-C ends the simulator.
`);

const stop = (): void => {
  simulator.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
};
process.once("SIGINT", stop);
process.once("SIGTERM", stop);

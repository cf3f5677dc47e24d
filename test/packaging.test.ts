import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { basename, join, matchesGlob } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../src/config.ts";
import { preferredOwner } from "#replicas/rendezvous.ts";

// The files that run the program on one machine: compose.yaml, dapr/ and the Dockerfile agree with the program and with each other.

interface Service {
  image: string;
  environment?: Record<string, string>;
  volumes?: string[];
  network_mode?: string;
}

const root = join(import.meta.dirname, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const compose = parse(read("compose.yaml"), { merge: true }) as { services: Record<string, Service> };
const services = Object.entries(compose.services);
const isProgram = ({ image }: Service): boolean => image.startsWith("budcluster:");

test.each(services.filter(([, { environment }]) => environment?.["ROLE"] !== undefined))(
  "compose.yaml configures %s with variables that the program takes",
  (_name, { environment = {} }) => {
    expect(() => loadConfig(environment)).not.toThrow();
  },
);

test("compose.yaml mounts files that exist, and pins every image", () => {
  const mounted = services.flatMap(([, { volumes = [] }]) =>
    volumes.map((volume) => volume.split(":")[0] ?? "").filter((source) => source.startsWith("./")),
  );
  expect(mounted).toContain("./helm/files/otelcol/config.yaml");
  expect(mounted.filter((source) => !existsSync(join(root, source)))).toEqual([]);
  const floating = services.filter(
    ([, service]) => !isProgram(service) && !/:v?\d+\.\d+/.test(service.image),
  );
  expect(floating).toEqual([]);
});

test("compose.yaml runs bridges that share one state store, each with a name and a sidecar of its own", () => {
  const bridges = services.filter(([, { environment }]) => environment?.["ROLE"] === "bridge");
  const named = bridges.map(([, { environment }]) => environment?.["REPLICA_NAME"]);
  expect(named).toEqual(["bridge-1", "bridge-2"]);
  const settings = bridges.map(([, { environment }]) => ({ ...environment, REPLICA_NAME: "" }));
  expect(settings[0]).toMatchObject({ DAPR_STATE_STORE: "statestore" });
  expect(settings[1]).toEqual(settings[0]);
  // The simulator's two clusters: each bridge has one of them.
  expect(["sim-1", "sim-2"].map((id) => preferredOwner(named as string[], id))).toEqual(named);
  const sidecars = services.flatMap(([, { image, network_mode: network }]) =>
    image.startsWith("daprio/daprd:") ? [network] : [],
  );
  expect(sidecars).toEqual(bridges.map(([name]) => `service:${name}`));
});

test("compose.yaml opens ports to this machine only", () => {
  const ports = [...read("compose.yaml").matchAll(/ports: \["([^"]+)"\]/g)].map(([, port]) => port);
  expect(ports.length).toBeGreaterThan(0);
  expect(ports.filter((port) => !port?.startsWith("127.0.0.1:"))).toEqual([]);
});

test.each(["metrics-collection-cron.yaml", "statestore.yaml"])(
  "compose's %s is the one of dapr/ but for the schedule and Redis' name",
  (name) => {
    const local = read(`dapr/components/${name}`)
      .replace('"0 */5 * * * *"', '"0 * * * * *"')
      .replace("localhost:6379", "redis:6379");
    expect(parse(read(`compose/components/${name}`))).toEqual(parse(local));
  },
);

test("dapr.yaml names the components' app and variables that the program takes", () => {
  const { common, apps } = parse(read("dapr/dapr.yaml")) as {
    common: { resourcesPath: string };
    apps: { appID: string; appPort: number; env: Record<string, string> }[];
  };
  const [app] = apps;
  const component = parse(read(join("dapr", common.resourcesPath, "metrics-collection-cron.yaml"))) as {
    scopes: string[];
  };
  expect(component.scopes).toEqual([app?.appID]);
  expect(loadConfig(app?.env ?? {}).PORT).toBe(app?.appPort);
});

/** The names that the Dockerfile deletes from the production image's packages, as find compares them. */
function isDeleted(path: string): boolean {
  const [, stage = ""] = /AS production-packages\n(.*?)\n\n/s.exec(read("Dockerfile")) ?? [];
  const name = basename(path).toLowerCase();
  const licence = ["licen[cs]e*", "notice*"].some((pattern) => matchesGlob(name, pattern));
  const patterns = [...stage.matchAll(/(?<!! )-i?name '([^']+)'/g)].map(([, pattern]) => pattern!);
  expect(patterns).toContain("*.d.ts");
  return patterns.some((pattern) => matchesGlob(name, pattern)) && !(name.endsWith(".md") && licence);
}

test("the page adds less than 2 MB to the production image", () => {
  // The packages that page-build.ts reads, with theirs: no other package of the program needs them.
  const lock = JSON.parse(read("package-lock.json")) as {
    packages: Record<string, { dev?: boolean; dependencies?: Record<string, string> }>;
  };
  const ofPage = new Set<string>();
  const add = (name: string): void => {
    ofPage.add(name);
    const { dev, dependencies = {} } = lock.packages[`node_modules/${name}`]!;
    expect([name, dev]).toEqual([name, undefined]);
    for (const below of Object.keys(dependencies)) add(below);
  };
  for (const [, name] of read("src/http/page-build.ts").matchAll(/file: "((?:@[^/"]+\/)?[^/"]+)\//g))
    add(name!);
  expect([...ofPage].toSorted()).toEqual([
    "@preact/signals",
    "@preact/signals-core",
    "htm",
    "preact",
    "uplot",
  ]);
  const packages = [...ofPage].flatMap((name) =>
    globSync(`node_modules/${name}/**`, { cwd: root }).filter((path) => !isDeleted(path)),
  );
  const own = globSync(["src/page/**", "src/http/page-*.ts"], { cwd: root });
  const sizes = [...packages, ...own]
    .map((path) => statSync(join(root, path)))
    .flatMap((file) => (file.isFile() ? [file.size] : []));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  process.stdout.write(`the page adds ${total} bytes in ${sizes.length} files to the image\n`);
  expect(sizes.length).toBeGreaterThan(50);
  expect(total).toBeLessThan(2_000_000);
});

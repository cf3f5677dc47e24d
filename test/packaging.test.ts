import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { loadConfig } from "../src/config.ts";

// The files that run the program on one machine: compose.yaml, dapr/ and the Dockerfile agree with the program and with each other.

interface Service {
  image: string;
  environment?: Record<string, string>;
  volumes?: string[];
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

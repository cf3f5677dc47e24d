import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { BridgeError } from "#errors/error.ts";
import { loadClustersFile } from "#clusters/clusters-file.ts";
import { clusterFromCommandLine, toClusterId } from "#clusters/registry.ts";
import { createCertificate } from "../../helpers/certificates.ts";

const SECRET = "s3cr3t-t0ken-abcdef";
const defaults = {
  prometheus: {
    namespace: "bud-system",
    service: "bud-prom",
    port: 9090,
    scheme: "http" as const,
    pathPrefix: "",
  },
  validateCerts: true,
};
let folder: string;
let caPem: string;

const kubeconfig = (user: Record<string, unknown> = { token: SECRET }, context = "x") => ({
  clusters: [{ name: "c", cluster: { server: "https://api.example.org" } }],
  users: [{ name: "u", user }],
  contexts: [{ name: context, context: { cluster: "c", user: "u" } }],
  "current-context": context,
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "clusters-"));
  caPem = (await createCertificate("prometheus")).certPem;
  writeFileSync(join(folder, "good.yaml"), stringify(kubeconfig()));
  writeFileSync(join(folder, "exec.yaml"), stringify(kubeconfig({ exec: { command: "aws" } })));
  writeFileSync(join(folder, "ca.pem"), caPem);
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(content: unknown): string {
  const path = join(folder, "clusters.yaml");
  writeFileSync(path, typeof content === "string" ? content : stringify(content));
  return path;
}

const load = (clusters: unknown[]) => loadClustersFile(write({ clusters }), defaults);

async function problems(work: Promise<unknown>): Promise<string[]> {
  const error = await work.then(
    () => new Error("it was accepted"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof BridgeError)) throw error;
  expect(error.code).toBe("clusters_file_invalid");
  expect(JSON.stringify([error.message, error.details])).not.toContain(SECRET);
  return error.details?.["problems"] as string[];
}

describe("loadClustersFile", () => {
  test("fills in the defaults", async () => {
    const [cluster, ...rest] = await load([{ id: "a", kubeconfig: "good.yaml" }]);
    expect(rest).toEqual([]);
    expect(cluster).toMatchObject({
      id: "a",
      name: "a",
      platform: "kubernetes",
      enabled: true,
      validateCerts: true,
      prometheus: defaults.prometheus,
      credentials: { kind: "inline" },
    });
    const credentials = cluster?.credentials;
    expect(credentials?.kind === "inline" && credentials.kubeconfig.expose()).toContain(SECRET);
    expect(JSON.stringify(cluster)).not.toContain(SECRET);
  });

  test("takes everything that can be set", async () => {
    const prometheus = {
      namespace: "obs",
      service: "prom",
      port: 443,
      scheme: "https",
      path_prefix: "/p/",
      ca: "ca.pem",
    };
    const given = {
      name: "A",
      platform: "eks",
      enabled: false,
      validate_certs: false,
      context: "x",
      prometheus,
    };
    const [cluster] = await load([{ id: "a", kubeconfig: "good.yaml", ...given }]);
    expect(cluster).toMatchObject({
      name: "A",
      platform: "eks",
      enabled: false,
      validateCerts: false,
      credentials: { kind: "inline", context: "x" },
      prometheus: {
        namespace: "obs",
        service: "prom",
        port: 443,
        scheme: "https",
        pathPrefix: "/p",
        ca: caPem,
      },
    });
  });

  test("takes a kubeconfig as mapping, as text, and a CA inline", async () => {
    const clusters = await load([
      { id: "mapping", kubeconfig: kubeconfig() },
      { id: "text", kubeconfig: stringify(kubeconfig()), prometheus: { ca: caPem } },
      { id: "json", kubeconfig: JSON.stringify(kubeconfig()) },
    ]);
    expect(clusters.map(({ credentials }) => credentials.kind)).toEqual(["inline", "inline", "inline"]);
    expect(clusters[1]?.prometheus.ca).toBe(caPem);
  });

  test("only a trusted cluster may use plugins and files", async () => {
    const [file, inline] = await load([
      { id: "a", kubeconfig: "exec.yaml", trusted: true },
      { id: "b", kubeconfig: kubeconfig({ exec: { command: "aws" } }), trusted: true },
    ]);
    expect(file?.credentials).toEqual({ kind: "trusted-file", path: join(folder, "exec.yaml") });
    expect(inline?.credentials.kind).toBe("trusted-inline");
    const [problem] = await problems(load([{ id: "a", kubeconfig: "exec.yaml" }]));
    expect(problem).toMatch(
      /clusters\[0\] "a": kubeconfig: .*users\[0\]\.user\.exec.*kubeconfig_refused.*trusted: true/,
    );
  });

  test("lists every problem with cluster, field and what is allowed", async () => {
    const found = await problems(
      load([
        { id: "a b", kubeconfig: "good.yaml" },
        {
          id: "dup",
          kubeconfig: "good.yaml",
          trused: true,
          prometheus: { port: 99_999, pathPrefix: "/x", service: "A_B" },
        },
        { id: "dup", kubeconfig: "missing.yaml", prometheus: { ca: "none.pem" } },
        { name: "nameless", kubeconfig: 5 },
        "text",
        { id: "c", kubeconfig: "good.yaml", context: "nope", enabled: "yes" },
        { id: "d", kubeconfig: "good.yaml", context: "nope" },
      ]),
    );
    const text = found.join("\n");
    expect(text).toMatch(/clusters\[0\] "a b": id: must be 1 to 64 characters.*not "a b"/);
    expect(text).toMatch(/clusters\[1\] "dup": trused: is not known; did you mean trusted\?/);
    expect(text).toMatch(/clusters\[1\] "dup": prometheus\.port: must be from 1 to 65535, not 99999/);
    expect(text).toMatch(/prometheus\.pathPrefix: is not known; did you mean prometheus\.path_prefix\?/);
    expect(text).toMatch(/prometheus\.service: must be a Kubernetes name/);
    expect(text).toMatch(/clusters\[2\] "dup": id: is already used by clusters\[1\]/);
    expect(text).toMatch(/clusters\[2\] "dup": kubeconfig: .*missing\.yaml can't be read \(ENOENT\)/);
    expect(text).toMatch(/clusters\[2\] "dup": prometheus\.ca: the file can't be read \(ENOENT\)/);
    expect(text).toMatch(/clusters\[3\]: id: is missing/);
    expect(text).toMatch(/clusters\[3\]: kubeconfig: must be a path or a kubeconfig/);
    expect(text).toMatch(/clusters\[4\]: must be a mapping/);
    expect(text).toMatch(/clusters\[5\] "c": enabled: must be true or false, not "yes"/);
    expect(text).toMatch(/clusters\[6\] "d": kubeconfig: .*no context "nope"/);
  });

  test("names the first five of many unknown fields", async () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`field_${index}`, 1]));
    const found = await problems(load([{ id: "a", kubeconfig: "good.yaml", ...many }]));
    const text = found.join("\n");
    expect(text).toContain("field_4: is not known");
    expect(text).not.toContain("field_5");
    expect(text).toContain("295 more fields are not known");
  });

  test.each<[string, unknown, RegExp]>([
    ["broken YAML", `clusters: [{id: "${SECRET}`, /is not valid YAML/],
    ["another form", "[]", /must be a mapping with a list/],
    ["no list", { clusters: {} }, /clusters: must be a list/],
    ["a misspelt list", { cluster: [] }, /did you mean clusters\?/],
  ])("%s", async (_name, content, expected) => {
    expect((await problems(loadClustersFile(write(content), defaults))).join("\n")).toMatch(expected);
  });

  test("a file that is not there", async () => {
    const found = await problems(loadClustersFile(join(folder, "none.yaml"), defaults));
    expect(found).toEqual([expect.stringMatching(/none\.yaml can't be read \(ENOENT\)/)]);
  });

  test("an empty list is a list", async () => {
    expect(await load([])).toEqual([]);
  });
});

describe("the command line", () => {
  test("the command line's cluster is trusted and named by its context", async () => {
    const path = join(folder, "mine.yaml");
    const name = "arn:aws:eks:eu-west-1:123:cluster/prod";
    writeFileSync(path, stringify(kubeconfig({ exec: { command: "aws" } }, name)));
    const cluster = await clusterFromCommandLine({ kubeconfigPath: path, defaults });
    expect(cluster).toMatchObject({
      id: "arn-aws-eks-eu-west-1-123-cluster-prod",
      name,
      enabled: true,
      credentials: { kind: "trusted-file", path, context: name },
    });
    await expect(
      clusterFromCommandLine({ kubeconfigPath: path, context: "no", defaults }),
    ).rejects.toMatchObject({
      code: "kubeconfig_invalid",
      hint: expect.stringContaining(name),
    });
  });

  test.each(["kind-kind", "a/b", "ä", "", "---", ".", "..", "x".repeat(100), "admin@k8s.local"])(
    "toClusterId(%j) is an id",
    (text) => {
      expect(toClusterId(text)).toMatch(/^(?!\.\.?$)[A-Za-z0-9._-]{1,64}$/);
      expect(toClusterId(text)).toBe(toClusterId(text));
    },
  );

  test("toClusterId tells long names apart", () => {
    expect(toClusterId(`a${"x".repeat(100)}`)).not.toBe(toClusterId(`b${"x".repeat(100)}`));
  });
});

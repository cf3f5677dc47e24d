import { join } from "node:path";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApp, type App, type RunningApp } from "#app/app.ts";
import { loadConfig } from "#config.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { CHART, find, GIVEN_KEYS, HELM, render, run, type KubeObject } from "./helm.ts";
import { SETUPS } from "./matrix.ts";
import { environmentOf, workload, workloadsOf } from "./pods.ts";

describe("the program takes the environment that the chart gives it", () => {
  test.each(SETUPS)("$name", async ({ values, options }) => {
    const objects = await render(values, options);
    const names = workloadsOf(objects)
      .filter(({ containers }) => containers.some(({ image }) => image.startsWith("budcluster:")))
      // `helm test` and the guard run scripts of the chart's.
      .filter(({ kind, name }) => kind !== "Pod" && !name.endsWith("-guard"))
      .map(({ name }) => name);
    expect(names).toContain("budcluster");
    for (const name of names) {
      const environment = environmentOf(objects, name);
      const filled = Object.entries(environment).map(([key, value]) => [
        key,
        value.startsWith("<") ? (key === "OTLP_HEADERS" ? "a=b" : "from-a-secret") : value,
      ]);
      expect(loadConfig(Object.fromEntries(filled))).toMatchObject({ ROLE: environment["ROLE"] });
    }
  });
});

/** `curl` calls of a text: method, URL, headers and body with $VARIABLES. */
function curlsOf(text: string) {
  const lines = text.replaceAll("\\\n", " ").split("\n");
  return lines.flatMap((line) => {
    const url = /^\s*curl .*?'?(http:\/\/[^\s']+)/.exec(line)?.[1];
    if (url === undefined) return [];
    const headers = [...line.matchAll(/-H (["'])(.+?)\1/g)].map(([, , header]) =>
      (header ?? "").split(": ", 2),
    );
    const body = / -d "(.*)"$/.exec(line)?.[1]?.replaceAll('\\"', '"');
    const method = /-X (\w+)/.exec(line)?.[1] ?? (body === undefined ? "GET" : "POST");
    return [{ url, method, headers: Object.fromEntries(headers) as Record<string, string>, body }];
  });
}

describe("the notes of the installation", () => {
  const folder = createTemporaryFolder();
  let objects: KubeObject[];
  let notes: string;
  let app: App;
  let running: RunningApp;
  let token: string;

  /** Writes a Secret's content as a mounted volume would show it. */
  const mount = async (secret: string): Promise<string> => {
    const { data = {}, stringData = {} } = find(objects, "Secret", secret) as {
      data?: Record<string, string>;
      stringData?: Record<string, string>;
    };
    const path = join(folder, secret);
    await mkdir(path);
    for (const [name, content] of Object.entries(data))
      await writeFile(join(path, name), Buffer.from(content, "base64"));
    for (const [name, content] of Object.entries(stringData)) await writeFile(join(path, name), content);
    return path;
  };

  beforeAll(async () => {
    const args = ["--dry-run=client", "--namespace", "bud-system", "--set", "clickhouse.enabled=true"];
    const { stdout } = await run(HELM, ["install", "bud", CHART, ...args, "-o", "json"]);
    const release = JSON.parse(stdout) as { manifest: string; info: { notes: string } };
    notes = release.info.notes;
    objects = await render({ clickhouse: { enabled: true } });
    token = Buffer.from(
      (find(objects, "Secret", "bud-admin-token")["data"] as { token: string }).token,
      "base64",
    ).toString();
    const config = loadConfig({
      ...environmentOf(objects, "budcluster"),
      REPLICA_NAME: "budcluster-5d8f",
      HOST: "127.0.0.1",
      PORT: "0",
      DATA_DIR: join(folder, "data"),
      OTEL_COLLECTOR_ENDPOINT: "http://127.0.0.1:9",
      OWN_METRICS_INTERVAL: "0",
      API_TOKENS_FILE: join(await mount("bud-api-tokens"), "tokens.yaml"),
      CREDENTIALS_KEYS_DIR: await mount("bud-credentials-keys"),
    });
    app = createApp(config, createSilentLogger(), { work: "local" });
    running = await app.start();
  });
  afterAll(() => app?.stop());

  test("name what is there", () => {
    expect(notes).toContain("get secret bud-admin-token -o jsonpath='{.data.token}'");
    for (const [, service, port] of notes.matchAll(/port-forward service\/(\S+) \d+:(\d+)/g)) {
      expect(find(objects, "Service", service ?? "")).toMatchObject({
        spec: { ports: [{ port: Number(port) }] },
      });
    }
    expect(notes).toContain("Back up the Secret bud-credentials-keys");
    expect(notes).not.toContain("WARNING");
  });

  test("have calls that the installed bridge answers", async () => {
    const answers: Record<string, number> = {};
    for (const { url, method, headers, body } of curlsOf(notes).filter((call) =>
      call.url.includes(":9081/"),
    )) {
      const kubeconfig = { apiVersion: "v1", kind: "Config", clusters: [] };
      const response = await fetch(url.replace("http://127.0.0.1:9081", running.url), {
        method,
        headers: { ...headers, authorization: headers["authorization"]?.replace("$TOKEN", token) ?? "" },
        ...(body === undefined ? {} : { body: body.replace("$KUBECONFIG_JSON", JSON.stringify(kubeconfig)) }),
      });
      const answer = (await response.json()) as { error?: { code: string } };
      answers[`${method} ${new URL(url).pathname} ${answer.error?.code ?? "ok"}`] = response.status;
    }
    expect(answers).toEqual({
      // The request is as it must be; the kubeconfig of this test is not.
      "POST /clusters kubeconfig_invalid": 400,
      "POST /metrics/collect-all ok": 200,
      "GET /metrics/status ok": 200,
    });
  });

  test("have calls to the query service", () => {
    const paths = curlsOf(notes).filter(({ url }) => url.includes(":9082/"));
    expect(paths.map(({ url }) => new URL(url).pathname)).toEqual([
      "/cluster-metrics/edge-1/summary",
      "/cluster-metrics/edge-1/health",
    ]);
  });

  test("helm test asks what the installed services answer", async () => {
    const pod = workload(objects, "bud-test").spec.containers[0] as
      | { command?: string[]; args?: string[] }
      | undefined;
    const { stdout } = await run(
      process.execPath,
      [...(pod?.command?.slice(1) ?? []), ...(pod?.args ?? [])],
      "",
      {
        BRIDGE_URL: running.url,
        ADMIN_TOKEN: token,
      },
    );
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.replace(running.url, "")),
    ).toEqual(["pass /healthz 200", "pass /readyz 200", "pass /clusters 200", "pass /metrics/status 200"]);
  });
});

describe("the migration waits for ClickHouse", () => {
  const wait = async (url: string) => {
    const objects = await render({ ...GIVEN_KEYS, migration: { waitSeconds: 0 } });
    const [init] = workload(objects, "bud-migrate").containers as { command?: string[]; args?: string[] }[];
    const args = [...(init?.command?.slice(1) ?? []), ...(init?.args ?? [])];
    return await run(process.execPath, args, "", { CLICKHOUSE_URL: url, WAIT_SECONDS: "0" });
  };

  test("until it answers anything", async () => {
    const server = createServer((_request, response) => response.writeHead(403).end());
    const port = await new Promise<number>((resolve) =>
      server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port)),
    );
    expect(await wait(`http://127.0.0.1:${port}`)).toEqual({ ok: true, stdout: "", stderr: "" });
    server.close();
  });

  test("no longer than migration.waitSeconds", async () => {
    expect(await wait("http://127.0.0.1:9")).toEqual({
      ok: false,
      stdout: expect.stringMatching(/^waiting for ClickHouse at 127\.0\.0\.1:9: /),
      stderr: "ClickHouse did not answer within 0 s (migration.waitSeconds)\n",
    });
  });
});

test("what can go wrong is in the notes", async () => {
  const values = {
    scheduler: "dapr",
    auth: { enabled: false },
    collection: { validateCerts: false },
    bridge: { persistence: { enabled: false } },
    migration: { enabled: false },
  };
  const args = ["install", "bud", CHART, "--dry-run=client", "--values", "-"];
  const { stdout } = await run(HELM, args, JSON.stringify(values));
  expect(stdout.match(/^WARNING: .*?:/gm)).toEqual([
    "WARNING: Dapr is not installed in this cluster (API dapr.io/v1alpha1):",
    "WARNING: auth.enabled is false:",
    "WARNING: collection.validateCerts is false:",
    "WARNING: bridge.persistence.enabled is false:",
  ]);
  expect(stdout).toContain("run ROLE=migrate now and before each upgrade");
});

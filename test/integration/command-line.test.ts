import { spawn } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createSqliteStore } from "#state/sqlite-store.ts";
import { runBridge } from "../helpers/bridge-child.ts";
import { createSilentLogger } from "../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

/** sysexits.h EX_CONFIG */
const EXIT_CONFIG = 78;
const folder = createTemporaryFolder();

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, 0o600);
  return path;
}

const NO_CLUSTERS = { ROLE: "bridge", PORT: "0", CLUSTERS_FILE: write("none.yaml", "clusters: []\n") };

describe.concurrent("the command line", () => {
  it("--help names the usage and ends with 0", async () => {
    const { code, stdout, stderr } = await runBridge({}, ["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/Usage: npm start.*--kubeconfig FILE.*--context NAME.*--version/s);
  });

  it("--version names the version and ends with 0", async () => {
    expect(await runBridge({}, ["--version"])).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^budcluster \d+\.\d+\.\d+\n$/),
      stderr: "",
    });
  });

  it.each([
    [["--verbose"], /--verbose/],
    [["serve"], /unknown command "serve": see --help[^]*--help lists the options/],
    [["--context", "x"], /--context: needs --kubeconfig FILE[^]*--help lists the options/],
    [["--kubeconfig", "/nowhere/config"], /\/nowhere\/config/],
  ])("%j ends with 78", async (args, problem) => {
    const { code, stderr } = await runBridge({ DATA_DIR: folder, PORT: "0" }, args);
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(problem);
    expect(stderr).toMatch(/^budcluster: startup failed/);
  });

  it.each([
    [["diagnose", "--nope"], /^diagnose failed \(config_invalid\):[^]*--nope[^]*--help lists the options/],
    [
      ["kubeconfig", "--context", "admin", "--kubeconfig", "/nowhere"],
      /^kubeconfig failed \(kubeconfig_invalid\):[^]*\/nowhere can't be read[^]*Check that the path is right/,
    ],
  ])("%j says which command failed, and ends with 78", async (args, problem) => {
    const { code, stderr } = await runBridge({ DATA_DIR: folder }, args);
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(problem);
  });
});

it("npm start passes SIGTERM on, and leaves no process behind", async () => {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn("npm", ["start"], {
    env: { PATH, HOME, ...NO_CLUSTERS, DATA_DIR: join(folder, "npm") },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  // Ends when the last process that holds it does.
  for await (const part of child.stdout as AsyncIterable<Buffer>) {
    said += part.toString("utf8");
    if (said.includes('"msg":"listening"') && !child.killed) child.kill("SIGTERM");
  }
  expect(said).toContain('"msg":"shutdown complete"');
});

describe.concurrent("a wrong configuration ends with 78 and names each problem", () => {
  it("of the environment", async () => {
    const { code, stdout, stderr } = await runBridge({
      ROLE: "bridge",
      PORT: "http",
      METRICS_BATCHSIZE: "5",
      METRICS_COLLECTION_TIMEOUT: "soon",
      OTEL_COLLECTOR_ENDPOINT: "http://user:hunter2hunter2@collector",
      APP_API_TOKEN: "short",
    });
    expect(code).toBe(EXIT_CONFIG);
    const lines = stderr.split("\n").map((line) => line.trim());
    expect(lines).toEqual(
      expect.arrayContaining([
        'PORT="http": must be a whole number from 0 to 65535',
        "METRICS_BATCHSIZE: unknown; did you mean METRICS_BATCH_SIZE?",
        expect.stringMatching(/^METRICS_COLLECTION_TIMEOUT="soon": must be seconds/),
        expect.stringMatching(/^OTEL_COLLECTOR_ENDPOINT="http:\/\/\(hidden\)@collector": must be/),
        expect.stringMatching(/^APP_API_TOKEN=\(hidden\): must have at least/),
      ]),
    );
    expect(stdout + stderr).not.toMatch(/hunter2|short/);
  });

  it("of CLUSTERS_FILE", async () => {
    const clusters = [
      { id: "a b", kubeconfig: "x" },
      { id: "c", name: "c" },
      { id: "d", kubeconfig: { users: [{ name: "u", user: { exec: { command: "sh" } } }] } },
    ];
    const path = write("clusters.yaml", JSON.stringify({ clusters }));
    const { code, stderr } = await runBridge({ ROLE: "bridge", CLUSTERS_FILE: path, DATA_DIR: folder });
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(/clusters\[0\] "a b": id: must be 1 to 64 characters/);
    expect(stderr).toMatch(/clusters\[1\] "c": kubeconfig: is missing/);
    expect(stderr).toMatch(/clusters\[2\] "d": kubeconfig: /);
  });

  it("of QUERIES_FILE", async () => {
    const queries = [{ name: "broken", promql: "sum(" }, { name: "up" }, { name: "up" }];
    const path = write("queries.yaml", JSON.stringify({ remove: ["nothing"], queries }));
    const { code, stderr } = await runBridge({ ...NO_CLUSTERS, QUERIES_FILE: path, DATA_DIR: folder });
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(/remove: no built-in query, metric or group is named nothing/);
    expect(stderr).toMatch(/broken: promql: /);
    expect(stderr).toMatch(/up: the name is used twice/);
  });

  it("of API_TOKENS_FILE", async () => {
    const tokens = [{ name: "a", sha256: "no hash", scopes: ["read"] }];
    const path = write("tokens.yaml", JSON.stringify(tokens));
    const { code, stderr } = await runBridge({ ...NO_CLUSTERS, API_TOKENS_FILE: path, DATA_DIR: folder });
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(/entry 1 sha256: must be the 64 hex/);
  });

  it("of an address that would be open to the network", async () => {
    const { code, stderr } = await runBridge({
      ...NO_CLUSTERS,
      HOST: "0.0.0.0",
      DATA_DIR: join(folder, "open"),
    });
    expect(code).toBe(EXIT_CONFIG);
    expect(stderr).toMatch(/HOST=0\.0\.0\.0.*API_TOKENS_FILE/s);
  });
});

it("a DATA_DIR that another process uses is named, with exit code 1 because it may pass", async () => {
  const directory = join(folder, "held");
  const path = join(directory, "state.sqlite");
  const store = createSqliteStore({ path, logger: createSilentLogger() });
  try {
    const { code, stderr } = await runBridge({ ...NO_CLUSTERS, DATA_DIR: directory });
    expect(code).toBe(1);
    expect(stderr).toMatch(/state_unavailable.*another process holds the state file.*DATA_DIR/s);
  } finally {
    await store.close();
  }
});

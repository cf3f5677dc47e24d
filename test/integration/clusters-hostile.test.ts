import { execFileSync } from "node:child_process";
import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { closeSync, constants, existsSync, openSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import { apiEnvironment, createClustersApi, type ClustersApi } from "../helpers/clusters-api.ts";
import { startTestSystem, type TestSystem, type TestSystemSettings } from "../helpers/test-system.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();
const MARKER = join(folder, "it-ran");
const PIPE = join(folder, "pipe");
const NAME = "api.example.test";
let environment: Record<string, string>;

beforeAll(() => {
  // The simulated API servers are where API servers may be; everything else is as users have it.
  environment = {
    ...apiEnvironment(folder),
    ALLOW_PRIVATE_API_SERVERS: "false",
    API_SERVER_CIDRS: "127.0.0.1",
  };
  execFileSync("mkfifo", [PIPE]);
});

interface Trap {
  port: number;
  connections(): number;
}

/** Counts who connects. */
async function setTrap(host: string, port = 0): Promise<Trap> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.on("error", () => {}).destroy();
  });
  server.listen(port, host);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

/** Is anybody reading the named pipe? Who opens it without a reader gets ENXIO. */
function isRead(): boolean {
  try {
    closeSync(openSync(PIPE, constants.O_WRONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
}

interface Hostile extends TestSystem {
  api: ClustersApi;
  asked: string[];
}

async function startHostileSystem(
  answer: (hostname: string) => string[] = () => ["127.0.0.1"],
  settings: TestSystemSettings = {},
): Promise<Hostile> {
  const asked: string[] = [];
  const resolve = async (hostname: string): Promise<LookupAddress[]> => {
    asked.push(hostname);
    return await Promise.resolve(answer(hostname).map((address) => ({ address, family: 4 })));
  };
  const system = await startTestSystem({ environment, resolve, ...settings });
  return { ...system, asked, api: createClustersApi(() => system.bridge.url) };
}

interface Parts {
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  file?: Record<string, unknown>;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const kubeconfig = (port: number, { cluster, user, file }: Parts = {}) => ({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "c", cluster: { server: `https://${NAME}:${port}`, ...cluster } }],
  users: [{ name: "u", user: { token: "hostile-token-0123456789", ...user } }],
  contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  "current-context": "x",
  ...file,
});

/** An object that no stringifier can write. */
const DEEP = Symbol("deep");
const DEEP_OBJECT = `{"clusters":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;

/** Each with the error's code and what its message names. */
const CASES: [
  name: string,
  make: (trap: Trap) => unknown,
  expected: { status?: number; code: string; message: RegExp },
][] = [
  [
    "exec",
    ({ port }) => kubeconfig(port, { user: { exec: { command: "touch", args: [MARKER] } } }),
    { code: "kubeconfig_refused", message: /users\[0\]\.user\.exec is not allowed/ },
  ],
  [
    "auth-provider",
    ({ port }) =>
      kubeconfig(port, {
        user: {
          "auth-provider": {
            name: "gcp",
            config: {
              "cmd-path": "/usr/bin/touch",
              "cmd-args": MARKER,
              "idp-issuer-url": `https://${NAME}:${port}`,
            },
          },
        },
      }),
    { code: "kubeconfig_refused", message: /users\[0\]\.user\.auth-provider/ },
  ],
  ...["tokenFile", "client-certificate", "client-key"].map((field): (typeof CASES)[number] => [
    field,
    ({ port }) => kubeconfig(port, { user: { [field]: PIPE } }),
    {
      code: "kubeconfig_refused",
      message: new RegExp(`users\\[0\\]\\.user\\.${field} is not allowed: it reads a file`),
    },
  ]),
  [
    "a file of a user that is not the chosen one",
    ({ port }) =>
      kubeconfig(port, {
        file: {
          users: [
            { name: "u", user: { token: "t" } },
            { name: "other", user: { tokenFile: PIPE } },
          ],
        },
      }),
    { code: "kubeconfig_refused", message: /users\[1\]\.user\.tokenFile/ },
  ],
  [
    "certificate-authority",
    ({ port }) => kubeconfig(port, { cluster: { "certificate-authority": PIPE } }),
    { code: "kubeconfig_refused", message: /clusters\[0\]\.cluster\.certificate-authority/ },
  ],
  [
    "a path instead of a kubeconfig",
    () => PIPE,
    { code: "kubeconfig_invalid", message: /must be a mapping/ },
  ],
  [
    "proxy-url",
    ({ port }) => kubeconfig(port, { cluster: { "proxy-url": `http://${NAME}:${port}` } }),
    { code: "kubeconfig_refused", message: /clusters\[0\]\.cluster\.proxy-url/ },
  ],
  ...["as", "as-uid", "as-groups", "as-user-extra", "impersonate-user"].map(
    (field): (typeof CASES)[number] => [
      field,
      ({ port }) => kubeconfig(port, { user: { [field]: "system:admin" } }),
      { code: "kubeconfig_refused", message: new RegExp(`users\\[0\\]\\.user\\.${field} .*impersonates`) },
    ],
  ),
  [
    "a YAML bomb of aliases",
    () => `a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nclusters: [*c,*c]`,
    { code: "kubeconfig_invalid", message: /YAML (anchors|aliases)/ },
  ],
  [
    "a YAML bomb of depth",
    () => `clusters: ${"[".repeat(50_000)}`,
    { code: "kubeconfig_invalid", message: /nested deeper/ },
  ],
  // Before it is parsed, whatever the field.
  ["an object of depth", () => DEEP, { code: "request_invalid", message: /nests deeper than 32 levels/ }],
  [
    "a YAML bomb of entries",
    () => `clusters: [${"a,".repeat(100_000)}]`,
    { code: "kubeconfig_invalid", message: /more than \d+ entries/ },
  ],
  [
    "tags",
    ({ port }) => `!!js/function "x"\n---\n${JSON.stringify(kubeconfig(port))}`,
    { code: "kubeconfig_invalid", message: /YAML tags/ },
  ],
  [
    "several documents",
    ({ port }) => `${JSON.stringify(kubeconfig(port))}\n---\n${JSON.stringify(kubeconfig(port))}`,
    { code: "kubeconfig_invalid", message: /more than one YAML document/ },
  ],
  [
    "more than 256 KiB",
    ({ port }) => `${JSON.stringify(kubeconfig(port))}#${"x".repeat(300 * 1024)}`,
    { code: "kubeconfig_invalid", message: /larger than/ },
  ],
  [
    "10 MB",
    ({ port }) => `${JSON.stringify(kubeconfig(port))}#${"x".repeat(10 * 1024 * 1024)}`,
    { status: 413, code: "body_too_large", message: /larger than this route takes/ },
  ],
  [
    "wrong base64",
    ({ port }) => kubeconfig(port, { cluster: { "certificate-authority-data": "%%%%" } }),
    { code: "kubeconfig_invalid", message: /certificate-authority-data must be base64/ },
  ],
  [
    "base64 of no certificate",
    ({ port }) => kubeconfig(port, { cluster: { "certificate-authority-data": base64("hello") } }),
    { code: "kubeconfig_invalid", message: /certificate-authority-data has no PEM certificate/ },
  ],
  [
    "an http server",
    ({ port }) => kubeconfig(port, { cluster: { server: `http://${NAME}:${port}` } }),
    { code: "kubeconfig_refused", message: /only https servers/ },
  ],
  [
    "user info in the URL",
    ({ port }) => kubeconfig(port, { cluster: { server: `https://user:pass@${NAME}:${port}` } }),
    { code: "kubeconfig_refused", message: /user info in the URL/ },
  ],
  [
    "insecure-skip-tls-verify",
    ({ port }) => kubeconfig(port, { cluster: { "insecure-skip-tls-verify": true } }),
    { code: "kubeconfig_refused", message: /insecure-skip-tls-verify/ },
  ],
];

interface Refusal {
  code: string;
  message: string;
}
interface Inspected {
  text: string;
  /** Of a request that is no inspection. */
  error?: Refusal;
  contexts?: { context: string; accepted: boolean; problem: Refusal | null; [field: string]: unknown }[];
  problem?: Refusal | null;
}

/** `json`: of the kubeconfig. */
async function inspect(url: string, json: string): Promise<Inspected> {
  const answer = await fetch(`${url}/onboard/inspect`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: `{"kubeconfig":${json}}`,
  });
  const text = await answer.text();
  return { text, ...(JSON.parse(text) as Omit<Inspected, "text">) };
}

/** Each refusal once: of the request, of the file, of its contexts. */
function refusalsOf({ error, problem, contexts = [] }: Inspected): Refusal[] {
  const all = [error, problem, ...contexts.map((context) => context.problem)];
  expect(contexts.every(({ accepted, problem: own }) => accepted === (own === null))).toBe(true);
  const found = new Map(all.flatMap((each) => (each ? [[JSON.stringify(each), each] as const] : [])));
  return [...found.values()];
}

test.each(CASES)(
  "%s is refused by name, and nothing is run, read, resolved or dialled",
  async (_name, make, expected) => {
    const { api, asked, bridge } = await startHostileSystem();
    const trap = await setTrap("127.0.0.1");
    const config = make(trap);
    const text = config === DEEP ? DEEP_OBJECT : JSON.stringify(config);
    const answer = await api.create(`{"id":"h","name":"h","platform":"h","kubeconfig":${text}}`);
    expect(answer).toMatchObject({ status: expected.status ?? 400, error: { code: expected.code } });
    expect(answer.error.message).toMatch(expected.message);
    expect(answer.text).not.toMatch(/hostile-token|user:pass/);
    const inspected = await inspect(bridge.url, text);
    expect(refusalsOf(inspected)).toEqual([answer.error]);
    expect(inspected.text).not.toMatch(/hostile-token|user:pass|PRIVATE/);
    expect([asked, trap.connections(), existsSync(MARKER), isRead()]).toEqual([[], 0, false, false]);
    expect(await api.list()).toEqual([]);
  },
);

test("the traps work: a kubeconfig that is accepted connects", async () => {
  const { api, asked } = await startHostileSystem();
  const trap = await setTrap("127.0.0.1");
  const answer = await api.create({ id: "h", name: "h", platform: "h", kubeconfig: kubeconfig(trap.port) });
  expect(answer).toMatchObject({ status: 422, error: { code: "cluster_unreachable" } });
  expect(asked).toContain(NAME);
  expect(trap.connections()).toBeGreaterThan(0);
});

test.each([
  ["127.0.0.2", "a loopback address"],
  ["0x7f000002", "a loopback address"],
  ["[::ffff:127.0.0.2]", "a loopback address"],
  ["[::1]", "a loopback address"],
  ["0.0.0.0", "an unspecified address"],
  ["169.254.169.254", "a link-local address"],
  ["2852039166", "a link-local address"],
  ["[fd00:ec2::254]", "a metadata service's address"],
  ["100.100.100.200", "a metadata service's address"],
])("an API server at %s is refused, with and without a check, also by PATCH", async (host, kind) => {
  const { api, asked, simulator, bridge } = await startHostileSystem();
  const trap = await setTrap("127.0.0.2");
  const hostile = kubeconfig(trap.port, { cluster: { server: `https://${host}:${trap.port}` } });
  const refused = { status: 422, error: { code: "api_server_refused" } };
  for (const query of ["", "?check=false"]) {
    const answer = await api.create({ id: "h", name: "h", platform: "h", kubeconfig: hostile }, query);
    expect(answer).toMatchObject(refused);
    expect(answer.error.message).toContain(kind);
    expect(refusalsOf(await inspect(bridge.url, JSON.stringify(hostile)))).toEqual([answer.error]);
  }
  const { name, platform, kubeconfig: good } = simulator.cluster("sim-1");
  await api.create({ id: "good", name, platform, kubeconfig: good });
  expect(await api.patch("good", { kubeconfig: hostile }, "?check=false")).toMatchObject(refused);
  expect([asked, trap.connections()]).toEqual([[], 0]);
  expect((await api.list()).map(({ id }) => id)).toEqual(["good"]);
});

test("a name that resolves to a refused address is refused before anything is dialled", async () => {
  const { api } = await startHostileSystem(() => ["203.0.113.9", "169.254.169.254"]);
  const trap = await setTrap("127.0.0.1");
  const body = { id: "h", name: "h", platform: "h", kubeconfig: kubeconfig(trap.port) };
  for (const query of ["", "?check=false"]) {
    const answer = await api.create(body, query);
    expect(answer).toMatchObject({ status: 422, error: { code: "api_server_refused" } });
    expect(answer.text).not.toMatch(/169\.254|203\.0/);
  }
  expect(trap.connections()).toBe(0);
});

/** The simulated cluster with a name instead of its API server's address. */
function namedCluster(simulator: TestSystem["simulator"]): { body: Record<string, unknown>; port: number } {
  const { id, name, platform, kubeconfig: text, apiServerUrl } = simulator.cluster("sim-1");
  const port = Number(new URL(apiServerUrl).port);
  const named = text.replace(apiServerUrl, `https://${NAME}:${port}\n      tls-server-name: localhost`);
  return { body: { id, name, platform, kubeconfig: named }, port };
}

test("DNS that answers an allowed address first and a refused one later is refused when it dials", async () => {
  let address = "127.0.0.1";
  const { api, bridge, simulator, clock } = await startHostileSystem(() => [address]);
  const { body, port } = namedCluster(simulator);
  const trap = await setTrap("127.0.0.2", port);
  expect((await api.create(body)).status).toBe(201);
  clock.jump(60_000);
  expect((await bridge.collect()).successful).toBe(1);

  simulator.faults.forget("sim-1");
  address = "127.0.0.2";
  clock.jump(60_000);
  const round = await bridge.collect();
  expect(bridge.resultOf(round, "sim-1").error).toMatchObject({ code: "api_server_refused" });
  expect(trap.connections()).toBe(0);
  expect(simulator.faults.traffic("sim-1").api).toBe(0);

  address = "127.0.0.1";
  clock.jump(60_000);
  expect((await bridge.collect()).successful).toBe(1);
});

test("DNS that changes between the check and the port-forward: the WebSocket does not get there", async () => {
  const answers: string[] = [];
  const { api, simulator, asked } = await startHostileSystem(() => [answers.shift() ?? "127.0.0.2"]);
  const { body, port } = namedCluster(simulator);
  const trap = await setTrap("127.0.0.2", port);
  // Admission and the API calls: Service, EndpointSlices, nodes. What follows is the port-forward.
  answers.push(...Array.from({ length: 4 }, () => "127.0.0.1"));
  expect(await api.create(body)).toMatchObject({ status: 422, error: { code: "api_server_refused" } });
  expect(asked.length).toBeGreaterThanOrEqual(3);
  expect(simulator.faults.traffic("sim-1").api).toBeGreaterThan(0);
  expect([trap.connections(), simulator.faults.traffic("sim-1").tunnel]).toEqual([0, 0]);
});

test("a cluster of CLUSTERS_FILE is not dialled there either; a trusted one is the operator's own", async () => {
  const { bridge, simulator } = await startHostileSystem(undefined, {
    environment: { ...environment, API_SERVER_CIDRS: "" },
  });
  const path = join(bridge.directory, "clusters.yaml");
  await bridge.restart({ CLUSTERS_FILE: path });
  const round = await bridge.collect();
  expect(bridge.resultOf(round, "sim-1").error?.code).toBe("api_server_refused");
  expect(simulator.faults.traffic("sim-1").api).toBe(0);

  writeFileSync(path, simulator.clustersFile().replace("- id: sim-1\n", "- id: sim-1\n    trusted: true\n"));
  await bridge.restart({ CLUSTERS_FILE: path });
  expect((await bridge.collect()).successful).toBe(1);
});

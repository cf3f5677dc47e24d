import { defineConfig, type OxlintConfig } from "oxlint";

/**
 * Which folder may import which others: only what is used, so that a new import is a decision. A folder may always import itself, `lib` and
 * `errors` (but `page` only itself); those two import nothing else (errors uses lib).
 */
const mayImport: Record<string, string[]> = {
  lib: [],
  errors: [],
  telemetry: [],
  state: ["telemetry"],
  storage: ["telemetry"],
  aws: [],
  tunnel: ["telemetry"],
  prometheus: [],
  clusters: ["telemetry", "state"],
  otlp: ["telemetry", "prometheus"],
  collect: ["telemetry", "clusters", "prometheus", "otlp", "state"],
  promql: [],
  query: ["storage", "promql"],
  replicas: ["telemetry", "state"],
  workers: ["telemetry", "clusters", "collect", "diagnose", "onboard", "state"],
  diagnose: ["telemetry", "clusters", "tunnel", "prometheus", "otlp", "storage"],
  onboard: ["clusters", "tunnel"],
  http: ["telemetry", "query", "promql", "prometheus", "clusters", "collect", "diagnose", "onboard"],
  allinone: ["telemetry", "storage", "state"],
  app: [
    "aws",
    "telemetry",
    "clusters",
    "collect",
    "diagnose",
    "onboard",
    "otlp",
    "prometheus",
    "storage",
    "allinone",
    "state",
    "tunnel",
    "http",
    "query",
    "promql",
    "replicas",
    "workers",
  ],
  commands: ["app", "clusters", "collect", "diagnose", "onboard", "prometheus", "telemetry", "tunnel"],
  simulator: [],
  // Runs in browsers: it reads the public API only.
  page: [],
};

/** The folders that know the configuration (src/config.ts). */
const KNOW_CONFIG = new Set(["app", "commands"]);

/** A vendor package stays in the few folders that speak its protocol. */
const vendors: Record<string, string[]> = {
  fastify: ["http"],
  "@fastify/*": ["http"],
  "@kubernetes/client-node": ["tunnel", "clusters"],
  "@clickhouse/client": ["storage"],
  chdb: ["allinone"],
  "@dapr/dapr": ["state"],
  ws: ["tunnel", "simulator"],
  protobufjs: ["allinone"],
  re2js: ["prometheus", "query", "promql"],
  preact: ["page"],
  "@preact/*": ["page"],
  htm: ["page"],
  uplot: ["page"],
};

const folders = Object.keys(mayImport);

const overrides: NonNullable<OxlintConfig["overrides"]> = folders.map((folder) => {
  const errors = folder === "lib" ? [] : ["errors"];
  const everywhere = folder === "page" ? [] : ["lib", ...errors];
  const allowed = new Set([folder, ...everywhere, ...(mayImport[folder] ?? [])]);
  const refusedFolders = folders.filter((other) => !allowed.has(other)).map((other) => `#${other}/**`);
  const refusedVendors = Object.entries(vendors)
    .filter(([, homes]) => !homes.includes(folder))
    .flatMap(([name]) => [name, `${name}/**`]);
  const root = folder === "simulator" ? "simulator" : `src/${folder}`;
  return {
    files: [`${root}/**/*.ts`],
    // The demo starts the whole program beside the simulator.
    excludeFiles: ["simulator/demo.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            { group: ["../**"], message: "import across folders by #folder/file.ts" },
            {
              group: KNOW_CONFIG.has(folder) ? ["#main.ts"] : ["#main.ts", "#config.ts"],
              message: "only main.ts, app and commands know the configuration",
            },
            {
              group: refusedFolders,
              message: `${root} may not import this folder: see mayImport in oxlint.config.ts`,
            },
            {
              group: refusedVendors,
              message: `${root} may not import this package: see vendors in oxlint.config.ts`,
            },
          ],
        },
      ],
    },
  };
});

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "vitest"],
  options: { typeAware: true },
  categories: { correctness: "error", suspicious: "error" },
  rules: {
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/switch-exhaustiveness-check": "error",
    "typescript/no-explicit-any": "error",
    "typescript/consistent-type-imports": "error",
    "import/no-default-export": "error",
    "import/no-cycle": "error",
    "oxc/no-barrel-file": "error",
    "eslint/no-console": "error",
    "eslint/no-shadow": "off",
    "eslint/no-await-in-loop": "off",
    "eslint/no-underscore-dangle": "off",
    "eslint/no-unmodified-loop-condition": "off",
    "unicorn/no-array-sort": "off",
    "unicorn/no-array-reverse": "off",
    "unicorn/consistent-function-scoping": "off",
    "typescript/no-unsafe-type-assertion": "off",
    "typescript/no-unnecessary-condition": "off",
  },
  overrides: [
    ...overrides,
    { files: ["*.config.ts"], rules: { "import/no-default-export": "off" } },
    { files: ["test/bench/**"], rules: { "eslint/no-console": "off" } },
  ],
});

import { defineConfig, type OxlintConfig } from "oxlint";

/**
 * Who may import whom among the folders of src.
 * A folder may always import itself, `lib` and `errors.ts`; everything else is listed here.
 */
const mayImport: Record<string, string[]> = {
  lib: [],
  telemetry: [],
  state: ["telemetry"],
  storage: ["telemetry"],
  tunnel: ["telemetry"],
  prometheus: ["telemetry"],
  clusters: ["telemetry", "state"],
  otlp: ["telemetry", "prometheus"],
  collect: ["telemetry", "clusters", "prometheus", "otlp", "state"],
  query: ["telemetry", "storage"],
  diagnose: ["telemetry", "clusters", "tunnel", "prometheus", "otlp", "storage"],
  onboard: ["telemetry", "clusters", "tunnel"],
  http: ["telemetry", "query", "clusters", "collect", "diagnose"],
  allinone: ["telemetry", "storage", "state", "otlp"],
  simulator: ["telemetry", "prometheus"],
};

/** A vendor package stays in the few folders that speak its protocol. */
const vendors: Record<string, string[]> = {
  fastify: ["http", "allinone", "simulator"],
  "@fastify/*": ["http"],
  "@kubernetes/client-node": ["tunnel", "clusters"],
  "@clickhouse/client": ["storage", "query", "allinone"],
  chdb: ["allinone"],
  "@dapr/dapr": ["state"],
  ws: ["tunnel", "simulator"],
  protobufjs: ["allinone"],
  re2js: ["query"],
};

const folders = Object.keys(mayImport);

const overrides: NonNullable<OxlintConfig["overrides"]> = folders.map((folder) => {
  const allowed = new Set([folder, "lib", ...(mayImport[folder] ?? [])]);
  const refusedFolders = folders.filter((other) => !allowed.has(other)).map((other) => `#${other}/**`);
  const refusedVendors = Object.entries(vendors)
    .filter(([, homes]) => !homes.includes(folder))
    .flatMap(([name]) => [name, `${name}/**`]);
  const errorsRefused = folder === "lib" ? ["#errors.ts", "#telemetry/**"] : [];
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            { group: ["../**"], message: "import across folders by #folder/file.ts" },
            {
              group: ["#app.ts", "#main.ts", "#config.ts"],
              message: "only app.ts and main.ts know the configuration",
            },
            {
              group: [...refusedFolders, ...errorsRefused],
              message: `src/${folder} may not import this folder: see mayImport in oxlint.config.ts`,
            },
            {
              group: refusedVendors,
              message: `src/${folder} may not import this package: see vendors in oxlint.config.ts`,
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

import { defineConfig } from "vitest/config";
import { SecondTries } from "./test/helpers/second-tries.ts";

const isCi = process.env["CI"] === "true";

// `npm test` runs unit, integration and regression; `npm run test:helm` and `npm run test:e2e` name their own projects.
export default defineConfig({
  test: {
    pool: "forks",
    reporters: ["default", new SecondTries()],
    // Also on two cores: most tests wait for sockets, not for the processor.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/*.test.ts"],
          setupFiles: ["test/helpers/property-seed.ts"],
          // Only a test that hangs takes that long, also on a busy machine.
          testTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts", "test/regression/**/*.test.ts"],
          setupFiles: ["test/helpers/property-seed.ts"],
          // Tests over real sockets share CI's machine with other programs; the run names each test that needs its second try.
          retry: isCi ? 1 : 0,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "helm",
          include: ["test/helm/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "hostile",
          // Rows compare processor time and memory with limits; another program's burst on the machine may exceed them once, a defect does twice.
          retry: 1,
          include: ["test/hostile/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts"],
          testTimeout: 900_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});

import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { SecondTries } from "./test/helpers/second-tries.ts";

const isCi = process.env["CI"] === "true";

// `npm test` runs unit, integration and regression; `npm run test:helm` and `npm run test:e2e` name their own projects.
export default defineConfig({
  test: {
    pool: "forks",
    // The tests start the program and its workers some hundred times, and half of a start is compiling: compiled code is kept between starts.
    env: { NODE_COMPILE_CACHE: join(tmpdir(), "budcluster-test-compile-cache") },
    reporters: ["default", new SecondTries()],
    // What a test waits for comes at some time: only one that never comes takes that long, also on a busy machine.
    expect: { poll: { timeout: 10_000 } },
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
          include: [
            "test/integration/**/*.test.ts",
            "test/chaos/**/*.test.ts",
            "test/regression/**/*.test.ts",
          ],
          setupFiles: ["test/helpers/property-seed.ts"],
          // Tests over real sockets share CI's machine with other programs; the run names each test that needs its second try.
          retry: isCi ? 1 : 0,
          testTimeout: 60_000,
          // Some play rounds over a hundred clusters before their tests.
          hookTimeout: 180_000,
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
          name: "promql",
          include: ["test/promql/**/*.test.ts"],
          testTimeout: 300_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "page",
          include: ["test/page/**/*.test.ts"],
          // The browser shares CI's machine with the end-to-end suite; the run names each test that needs its second try.
          retry: isCi ? 1 : 0,
          testTimeout: 120_000,
          hookTimeout: 240_000,
          fileParallelism: false,
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

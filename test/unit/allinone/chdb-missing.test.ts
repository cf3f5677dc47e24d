import { join } from "node:path";
import { expect, test } from "vitest";
import { openChdb } from "#allinone/chdb.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { createSilentLogger } from "../../helpers/silent-logger.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const folder = createTemporaryFolder();

test("says how to get the package when it is missing", async () => {
  const error = await bridgeErrorOf(
    openChdb({
      path: join(folder, "x"),
      logger: createSilentLogger(),
      memoryBytesMax: 1,
      load: () => Promise.reject(new Error("Cannot find package 'chdb'")),
    }),
  );
  expect(error.code).toBe("engine_unavailable");
  expect(error.hint).toContain("npm ci");
});

test("a folder that can't be made is storage_unavailable", async () => {
  const error = await bridgeErrorOf(
    openChdb({ path: "/dev/null/x", logger: createSilentLogger(), memoryBytesMax: 1_000_000_000 }),
  );
  expect(error.code).toBe("storage_unavailable");
});

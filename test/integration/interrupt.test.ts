import { mkdtempSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { startNpmRun } from "../helpers/npm-run.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// Ctrl-C in a terminal signals npm and the program, and npm passes its signal on: the program gets two.

const folder = createTemporaryFolder();

/** Starts it with a temporary directory of its own, so that everything that it leaves behind is seen. */
function start(script: string, environment: Record<string, string> = {}) {
  const temporary = mkdtempSync(join(folder, "tmp-"));
  const run = startNpmRun(script, {
    TMPDIR: temporary,
    // npm keeps its own there.
    NODE_DISABLE_COMPILE_CACHE: "1",
    ...environment,
  });
  return { ...run, temporary, left: () => readdirSync(temporary) };
}

describe("npm run simulator", () => {
  test.each([
    ["Ctrl-C", ["SIGINT"]],
    ["Ctrl-C, twice in a row", ["SIGINT", "SIGINT"]],
    ["a supervisor", ["SIGTERM"]],
    ["the end of the terminal", ["SIGHUP"]],
  ] as const)("%s ends it, and leaves no folder with credentials behind", async (_, signals) => {
    const { shows, signal, ended, left, temporary, output } = start("simulator", { SIM_CLUSTERS: "1" });
    await shows("Ctrl-C ends the simulator");
    const [made, ...others] = left();
    expect(others).toEqual([]);
    expect(statSync(join(temporary, made ?? "")).mode & 0o777).toBe(0o700);
    for (const name of signals) signal(name);
    const code = await ended;
    expect({ left: left(), output: output() }).toEqual({ left: [], output: expect.any(String) });
    // A terminal's SIGHUP ends npm itself.
    expect(code).toBe(signals[0] === "SIGHUP" ? null : 0);
  });

  test("a folder of the user's stays as it is", async () => {
    const own = mkdtempSync(join(folder, "own-"));
    const { shows, signal, ended, left } = start("simulator", { SIM_CLUSTERS: "1", SIM_DIR: own });
    await shows("Ctrl-C ends the simulator");
    signal("SIGINT");
    expect(await ended).toBe(0);
    expect([left(), readdirSync(own).toSorted()]).toEqual([[], ["clusters.yaml", "sim-1.kubeconfig"]]);
  });
});

describe("npm run demo", () => {
  test.each([
    ["Ctrl-C while it runs", "Ctrl-C ends", "SIGINT"],
    ["Ctrl-C while it starts", "Starting the bridge", "SIGINT"],
    ["the end of the terminal", "Starting the bridge", "SIGHUP"],
  ] as const)("%s ends it in good order, and leaves no folder with keys behind", async (_, moment, name) => {
    const { shows, signal, ended, left, output } = start("demo", { PORT: "0" });
    await shows(moment);
    expect(left()).not.toEqual([]);
    signal(name);
    await ended;
    expect({ left: left(), output: output() }).toEqual({
      left: [],
      output: expect.stringContaining("Ending ..."),
    });
  });

  test("somebody who insists ends it at once, and the folder goes all the same", async () => {
    const { shows, signal, ended, left } = start("demo", { PORT: "0" });
    await shows("Starting three simulated clusters");
    const insisting = setInterval(() => signal("SIGINT"), 50);
    await ended;
    clearInterval(insisting);
    expect(left()).toEqual([]);
  });
});

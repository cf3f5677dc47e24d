import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../helm/helm.ts";

// Ctrl-C and a closed window in a real terminal: a pseudo terminal of Python's standard library, whose line discipline makes the signals. Without python3
// it fails; the same signals without a terminal are in test/integration/interrupt.test.ts.

/** Runs argv[3:] in a terminal until it shows argv[1], then presses Ctrl-C as often as argv[2] says, or closes the terminal for 0. Prints what was shown. */
const TERMINAL = `
import os, pty, sys
shown, presses, command = sys.argv[1].encode(), int(sys.argv[2]), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
output, done = b"", False
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    output += part
    if shown in output and not done:
        done = True
        if presses == 0:
            os.close(terminal)
            break
        os.write(terminal, b"\\x03" * presses)
_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(output)
print("\\nstatus", os.waitstatus_to_exitcode(status))
`;

let temporary: string;

beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), "terminal-"));
});
afterEach(async () => {
  await rm(temporary, { recursive: true });
});

test.each([
  ["demo", "Ctrl-C ends", 1, "Ending ..."],
  ["demo", "Ctrl-C ends", 3, "Ending ..."],
  ["simulator", "Ctrl-C ends the simulator", 1, ""],
  ["simulator", "Ctrl-C ends the simulator", 3, ""],
])(
  "npm run %s: at %j Ctrl-C, %i times, ends it in good order and leaves nothing behind",
  async (script, shown, presses, words) => {
    const env = { ...process.env, TMPDIR: temporary, NODE_DISABLE_COMPILE_CACHE: "1", PORT: "0" };
    const args = ["-c", TERMINAL, shown, String(presses), "npm", "run", script];
    const { ok, stdout, stderr } = await run("python3", args, "", env);
    expect({ ok, stderr }).toEqual({ ok: true, stderr: "" });
    expect(stdout).toContain(words);
    expect(stdout).toContain("status 0");
    expect(await readdir(temporary)).toEqual([]);
  },
);

test.each(["demo", "simulator"])("npm run %s: a closed terminal leaves nothing behind", async (script) => {
  const env = { ...process.env, TMPDIR: temporary, NODE_DISABLE_COMPILE_CACHE: "1", PORT: "0" };
  const shown = script === "demo" ? "Starting the bridge" : "Ctrl-C ends the simulator";
  const { ok, stderr } = await run("python3", ["-c", TERMINAL, shown, "0", "npm", "run", script], "", env);
  expect({ ok, stderr }).toEqual({ ok: true, stderr: "" });
  // npm ends by the signal at once, the program after an orderly end.
  await expect.poll(() => readdir(temporary), { timeout: 20_000, interval: 100 }).toEqual([]);
});

import { closeSync, openSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";

const TIME_MS_MAX = 60_000;
const CHARS_MAX = 256 * 1024;

/** The engine needs some hundreds; a process that has fewer left than this failed for want of them. */
const DESCRIPTORS_MIN = 64;

/** Opens the folder as the program does, and ends. */
const SCRIPT = `const [url, path, config] = process.argv.slice(1);
const { Session } = await import(url);
const { exit } = await import("node:process");
try {
  new Session(path, { connectionArgs: ["--config-file=" + config, "--log-level=error", "--logger.console=1", "--logger.level=error"] });
} finally {
  exit(0);
}`;

/**
 * Why the engine does not open a folder, in its own words. It writes them to the process' standard error and nowhere else, where the
 * program can't read them, so another process tries once more. Resolves with an empty text when that tells nothing.
 */
export async function askForReason(dataPath: string, configFile: string): Promise<string> {
  if (!areDescriptorsLeft()) return "Too many open files";
  let said = "";
  try {
    const args = ["--input-type=module", "-e", SCRIPT, import.meta.resolve("chdb"), dataPath, configFile];
    // Without the environment: its secrets are none of this process' business.
    const child = spawn(process.execPath, args, {
      env: {},
      stdio: ["ignore", "ignore", "pipe"],
      timeout: TIME_MS_MAX,
      killSignal: "SIGKILL",
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < CHARS_MAX) said += text;
    });
    await once(child, "close");
  } catch {
    // The original failure is reported anyway.
  }
  return said;
}

/** The other process would have more of them left than this one. */
function areDescriptorsLeft(): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < DESCRIPTORS_MIN) opened.push(openSync(process.execPath, "r"));
    return true;
  } catch {
    return false;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

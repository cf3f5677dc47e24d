import { spawn } from "node:child_process";
import { once } from "node:events";
import { onTestFinished } from "vitest";

/** An npm script with its child, in a process group of its own, as a terminal's job is. */
export interface NpmRun {
  /** Resolves with all output so far when it contains the text. Rejects when the script ends before. */
  shows: (text: string) => Promise<string>;
  /** To every process of the group, as a terminal does at Ctrl-C. npm then sends it to its child once more. */
  signal: (signal: NodeJS.Signals) => void;
  /** npm's exit code; null when a signal ended npm itself. */
  ended: Promise<number | null>;
  output: () => string;
}

/** Starts `npm run SCRIPT` with exactly this environment (and PATH). It does not outlive the test. */
export function startNpmRun(script: string, environment: Record<string, string>): NpmRun {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn("npm", ["run", script], { env: { PATH, HOME, ...environment }, detached: true });
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(-(child.pid ?? 0), name);
    } catch {
      // The group is empty.
    }
  };
  const ended = once(child, "close").then(() => child.exitCode);
  onTestFinished(async () => {
    signal("SIGKILL");
    await ended;
  });
  let output = "";
  let onOutput = (): void => {};
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      onOutput();
    });
  }
  return {
    shows: (text) =>
      new Promise((resolve, reject) => {
        onOutput = () => void (output.includes(text) && resolve(output));
        onOutput();
        void ended.then((code) => reject(new Error(`it ended with ${code}: ${output}`)));
      }),
    signal,
    ended,
    output: () => output,
  };
}

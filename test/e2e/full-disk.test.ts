import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test } from "vitest";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

const SIZE_MIB = 32;
const folder = createTemporaryFolder();

interface SmallDisk {
  /** The disk's folder, as this process sees it. */
  path: string;
  fill(): void;
  free(): void;
  /** Runs the program with a DATA_DIR on the disk, until it listens or ends. */
  start(): Promise<Run>;
}

interface Run {
  listens: boolean;
  code: number | null;
  output: string;
  stop(): Promise<number | null>;
}

/** A file system of its own in a mount namespace of its own: needs `unshare` (util-linux), and root or unprivileged user namespaces. */
async function createSmallDisk(environment: Record<string, string>): Promise<SmallDisk> {
  const inside = join(folder, "disk");
  mkdirSync(inside);
  const mount = `mount -t tmpfs -o size=${SIZE_MIB}m,mode=700 tmpfs "${inside}" && echo mounted && exec cat`;
  const holder = spawn("unshare", ["--user", "--map-root-user", "--mount", "sh", "-c", mount], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void holder.kill("SIGKILL"));
  const [line] = (await once(createInterface(holder.stdout), "line")) as string[];
  expect(line).toBe("mounted");
  const path = `/proc/${holder.pid}/root${inside}`;
  const ballast = join(path, "ballast");
  const enter = ["-t", String(holder.pid), "--user", "--mount", "--preserve-credentials"];

  const start = async (): Promise<Run> => {
    const { PATH = "" } = process.env;
    const child = spawn("nsenter", [...enter, process.execPath, join(process.cwd(), "src/main.ts")], {
      env: { PATH, DATA_DIR: join(inside, "data"), PORT: "0", ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const run: Run = {
      listens: false,
      code: null,
      output: "",
      stop: async () => {
        child.kill("SIGTERM");
        return await ended;
      },
    };
    const ended = once(child, "close").then(() => (run.code = child.exitCode));
    const listening = new Promise<void>((resolve) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => {
          run.output += text;
          if (!run.output.includes('"msg":"listening"')) return;
          run.listens = true;
          resolve();
        });
      }
    });
    await Promise.race([listening, ended]);
    return run;
  };

  return {
    path,
    fill: () => {
      try {
        writeFileSync(ballast, Buffer.alloc(SIZE_MIB << 20));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      }
    },
    free: () => rmSync(ballast, { force: true }),
    start,
  };
}

function emptyDefinitions(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".sql"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file).size === 0);
}

test("all-in-one on a full disk: whatever it does, it says so, and nothing is broken when there is space again", async () => {
  const disk = await createSmallDisk({ METRICS_COLLECTION_ENABLED: "false" });

  disk.fill();
  const first = await disk.start();
  expect(first.listens).toBe(false);
  expect(first.output).toMatch(/disk under .* is full|ENOSPC/);
  expect(first.output).toMatch(/Free space on the disk/);
  disk.free();
  const made = await disk.start();
  expect(made).toMatchObject({ listens: true });

  // While it runs, and at further starts.
  disk.fill();
  expect(await made.stop()).toBe(0);
  for (let again = 0; again < 2; again++) {
    const full = await disk.start();
    const end = full.listens ? await full.stop() : full.output;
    expect(end === 0 || /disk under .* is full/.test(String(end))).toBe(true);
    expect(emptyDefinitions(disk.path)).toEqual([]);
  }
  disk.free();
  const after = await disk.start();
  expect(after).toMatchObject({ listens: true });
  expect(await after.stop()).toBe(0);
}, 180_000);

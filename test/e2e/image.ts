import { setTimeout as delay } from "node:timers/promises";
import { GenericContainer, getContainerRuntimeClient } from "testcontainers";

/** The program's production image in a container, with nothing that it does not need. */
export interface ImageContainer {
  /** Asks Docker for the health check's state: starting, healthy, unhealthy. */
  health(): Promise<string>;
  /** Waits for the end; the exit code. */
  ended(): Promise<number>;
  /** Sends SIGTERM and waits; the exit code and how long it took. */
  terminate(): Promise<{ code: number; ms: number }>;
  log(): Promise<string>;
  remove(): Promise<void>;
}

/** The base of the image that is built here. Its Node 24 need not be the locked one. */
const BASE = "node:24-bookworm-slim";

/** The image of E2E_IMAGE, or one that is built now. */
export async function productionImage(): Promise<string> {
  const given = process.env["E2E_IMAGE"];
  if (given) return given;
  const image = "budcluster:e2e";
  await GenericContainer.fromDockerfile(".")
    .withTarget("production")
    .withBuildArgs({ NODE_IMAGE: BASE })
    .build(image, { deleteOnExit: false });
  return image;
}

/** User of an image that was built here, and its size above the base image. */
export async function inspectImage(image: string): Promise<{ user: string; megabytesOverBase: number }> {
  const { container: client } = await getContainerRuntimeClient();
  const [built, base] = await Promise.all(
    [image, BASE].map(async (name) => await client.dockerode.getImage(name).inspect()),
  );
  return {
    user: built?.Config.User ?? "",
    megabytesOverBase: ((built?.Size ?? 0) - (base?.Size ?? 0)) / 1e6,
  };
}

/** The paths that exist in an image. */
export async function pathsIn(image: string, paths: readonly string[]): Promise<string[]> {
  const { container: client } = await getContainerRuntimeClient();
  const container = await client.dockerode.createContainer({ Image: image });
  try {
    const found = await Promise.all(
      paths.map(async (path) => {
        const there = await container.infoArchive({ path }).catch((error: { statusCode?: number }) => {
          if (error.statusCode === 404) return undefined;
          throw error;
        });
        return there === undefined ? [] : [path];
      }),
    );
    return found.flat();
  } finally {
    await container.remove({ force: true });
  }
}

/** A shell that is not there: what needs one fails. */
const NO_SHELL = ["sh", "bash", "dash"].map((name) => `/dev/null:/bin/${name}:ro`);

/**
 * Starts the image as a Pod of the chart would: read-only root, no capabilities, no new privileges, and without a shell. On the host's network,
 * so that it reaches an API server that listens on the host's loopback.
 */
export async function startImage(
  image: string,
  environment: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>> = {},
): Promise<ImageContainer> {
  const { container: client } = await getContainerRuntimeClient();
  const container = await client.dockerode.createContainer({
    Image: image,
    Env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    HostConfig: {
      NetworkMode: "host",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Binds: [...NO_SHELL, ...Object.entries(files).map(([target, source]) => `${source}:${target}:ro`)],
    },
  });
  await container.start();
  const ended = async (): Promise<number> => ((await container.wait()) as { StatusCode: number }).StatusCode;
  return {
    ended,
    health: async () => (await container.inspect()).State.Health?.Status ?? "none",
    terminate: async () => {
      const started = performance.now();
      const end = ended();
      await container.kill({ signal: "SIGTERM" });
      return { code: await end, ms: performance.now() - started };
    },
    log: async () => String(await container.logs({ stdout: true, stderr: true, follow: false })),
    remove: async () => void (await container.remove({ force: true, v: true })),
  };
}

/** Waits until GET url answers 2xx; throws with the container's log when it does not. */
export async function untilOk(url: string, container: ImageContainer, timeoutMs = 60_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (Date.now() < end) {
    const isOk = await fetch(url).then(
      (answer) => answer.ok,
      () => false,
    );
    if (isOk) return;
    await delay(200);
  }
  throw new Error(`${url} does not answer 2xx: ${await container.log()}`);
}

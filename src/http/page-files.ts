import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { PageBuild } from "./page-build.ts";

export type LoadPage = () => Promise<PageBuild>;

/**
 * Reads the page's files, removes their types and compresses them, once, when the page is first asked for. In a thread: it takes about
 * 100 ms, and Node's warning that type stripping is experimental stays there. A failure is tried again by the next request.
 */
export function createLoadPage(): LoadPage {
  let loading: Promise<PageBuild> | undefined;
  return () => {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
}

async function load(): Promise<PageBuild> {
  const worker = new Worker(new URL("./page-build.ts", import.meta.url), { stderr: true });
  try {
    const [built] = (await once(worker, "message")) as [PageBuild];
    return built;
  } finally {
    await worker.terminate();
  }
}

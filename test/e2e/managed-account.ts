import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { promisify } from "node:util";
import { z } from "zod";
import { openCredentials } from "#clusters/open-credentials.ts";
import { clusterFromCommandLine } from "#clusters/registry.ts";
import { systemClock } from "#lib/clock.ts";
import { createKubeClient, type KubeClient } from "#tunnel/kube-client.ts";

/** Namespace of the tests' ServiceAccounts and Prometheus. */
export const NAMESPACE = "bud-system";

export const SERVICE = "bud-metrics-kube-prometheu-prometheus";

const TIMEOUT_MS = 20_000;
const run = promisify(execFile);
const { signal } = new AbortController();

/** The API server as an administrator sees it. */
export async function openAdmin(kubeconfigPath: string): Promise<KubeClient> {
  const cluster = await clusterFromCommandLine({
    kubeconfigPath,
    defaults: {
      prometheus: { namespace: NAMESPACE, service: SERVICE, port: 9090, scheme: "http", pathPrefix: "" },
      validateCerts: true,
    },
  });
  const { kubeConfig } = await openCredentials(cluster, undefined);
  return createKubeClient({ kubeConfig, clock: systemClock }, { timeoutMs: TIMEOUT_MS });
}

/** `npm run kubeconfig` with these options, run to its end. Rejects with `code`, `stdout` and `stderr` when that is not 0. */
export function kubeconfigCommand(...options: string[]): Promise<{ stdout: string; stderr: string }> {
  const { PATH = "", HOME = "" } = process.env;
  return run(process.execPath, ["src/main.ts", "kubeconfig", ...options], { env: { PATH, HOME } });
}

/** The token in a kubeconfig as the command writes it. */
export async function tokenIn(kubeconfigPath: string): Promise<string> {
  const [, token = ""] = /token: (\S+)/.exec(await readFile(kubeconfigPath, "utf8")) ?? [];
  return token;
}

/** Deletes the ServiceAccount, which ends every token of it: the API server may take up to ten seconds to notice. */
export async function deleteAccount(admin: KubeClient, account: string): Promise<void> {
  const path = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/${account}`;
  const { url, options } = await admin.connection(path, {}, signal);
  const status = await new Promise<number>((resolve, reject) => {
    const sent = request(url, { ...options, method: "DELETE" }, (answer) => {
      answer.resume().once("end", () => resolve(answer.statusCode ?? 0));
    });
    sent.once("error", reject).end();
  });
  if (status !== 200) throw new Error(`DELETE ${path}: ${status}`);
}

/** Does the API server still know who has this token? */
export async function isAccepted(admin: KubeClient, token: string): Promise<boolean> {
  const { status } = await admin.send(
    {
      method: "POST",
      path: "/apis/authentication.k8s.io/v1/tokenreviews",
      what: "review a token",
      schema: z.object({ status: z.object({ authenticated: z.boolean().optional() }) }),
      body: { apiVersion: "authentication.k8s.io/v1", kind: "TokenReview", spec: { token } },
    },
    signal,
  );
  return status.authenticated === true;
}

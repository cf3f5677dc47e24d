import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Cluster, User } from "@kubernetes/client-node";
import { isYamlMap } from "#lib/yaml.ts";

/**
 * The user, its exec plugin set up as client-go runs it (k8s.io/client-go/plugin/pkg/client/auth/exec), which client-node does not do:
 *
 * - a command with a slash that is not absolute is relative to the kubeconfig's directory;
 * - KUBERNETES_EXEC_INFO tells the plugin which API version to answer in, and with `provideClusterInfo` which cluster it is for.
 */
export async function withExecInfo(user: User, cluster: Cluster, directory: string): Promise<User> {
  const { exec } = user as { exec?: unknown };
  if (!isYamlMap(exec) || typeof exec["command"] !== "string") return user;
  const { command } = exec;
  const spec = {
    interactive: false,
    ...(exec["provideClusterInfo"] === true ? { cluster: await clusterInfo(cluster) } : {}),
  };
  const info = JSON.stringify({ kind: "ExecCredential", apiVersion: exec["apiVersion"], spec });
  const given: unknown[] = Array.isArray(exec["env"]) ? exec["env"].filter(isYamlMap) : [];
  return {
    ...user,
    exec: {
      ...exec,
      command: command.includes("/") ? resolve(directory, command) : command,
      args: Array.isArray(exec["args"]) ? exec["args"] : [],
      env: [...given, { name: "KUBERNETES_EXEC_INFO", value: info }],
    },
  };
}

async function clusterInfo(cluster: Cluster): Promise<Record<string, unknown>> {
  const { server, caData, caFile, tlsServerName, skipTLSVerify } = cluster;
  // A file that can't be read is named when the connection is made.
  const fromFile = caFile === undefined ? undefined : await readFile(caFile, "base64").catch(() => undefined);
  const ca = caData ?? fromFile;
  return {
    server,
    ...(tlsServerName === undefined ? {} : { "tls-server-name": tlsServerName }),
    ...(skipTLSVerify ? { "insecure-skip-tls-verify": true } : {}),
    ...(ca === undefined ? {} : { "certificate-authority-data": ca.replaceAll(/\s+/g, "") }),
  };
}

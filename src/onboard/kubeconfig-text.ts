import { readFile } from "node:fs/promises";
import type { OpenedCredentials } from "#clusters/open-credentials.ts";
import { BridgeError } from "#errors/error.ts";
import { stringify } from "yaml";

export interface KubeconfigUser {
  name: string;
  token: string;
}

/** A kubeconfig of the same API server for another user, as the registry takes it: everything inline, nothing of the administrator's. */
export async function toKubeconfigText(
  admin: OpenedCredentials["kubeConfig"],
  user: KubeconfigUser,
): Promise<string> {
  const cluster = admin.getCurrentCluster();
  if (!cluster) throw new BridgeError("kubeconfig_invalid", "the kubeconfig names no cluster");
  const ca = cluster.caData ?? (cluster.caFile === undefined ? undefined : await readCa(cluster.caFile));
  const name = cluster.name;
  const context = `${user.name}@${name}`;
  return stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name,
          cluster: {
            server: cluster.server,
            ...(ca === undefined ? {} : { "certificate-authority-data": ca }),
            ...(cluster.tlsServerName === undefined ? {} : { "tls-server-name": cluster.tlsServerName }),
          },
        },
      ],
      users: [{ name: user.name, user: { token: user.token } }],
      contexts: [{ name: context, context: { cluster: name, user: user.name } }],
      "current-context": context,
    },
    { lineWidth: 0 },
  );
}

async function readCa(path: string): Promise<string> {
  try {
    return (await readFile(path)).toString("base64");
  } catch (error) {
    throw new BridgeError("kubeconfig_invalid", "the kubeconfig's certificate-authority can't be read", {
      cause: error,
    });
  }
}

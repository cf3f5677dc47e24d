/** Location of the simulated Prometheus in each cluster, with the names of a usual installation. */
export const PROMETHEUS = {
  namespace: "bud-system",
  service: "bud-metrics-kube-prometheu-prometheus",
  port: 9090,
  portName: "http-web",
} as const;

/** A kubeconfig (YAML) of one user with a token. */
export function kubeconfigText(cluster: {
  id: string;
  apiServerUrl: string;
  ca: string;
  token: string;
}): string {
  const { id, apiServerUrl, ca, token } = cluster;
  return `apiVersion: v1
kind: Config
clusters:
  - name: ${id}
    cluster:
      server: ${apiServerUrl}
      certificate-authority-data: ${Buffer.from(ca).toString("base64")}
users:
  - name: bridge
    user:
      token: ${token}
contexts:
  - name: ${id}
    context:
      cluster: ${id}
      user: bridge
current-context: ${id}
`;
}

/** A list of clusters in the form of CLUSTERS_FILE (YAML), with the kubeconfigs inline. */
export function clustersFileText(
  clusters: readonly { id: string; name: string; platform: string; kubeconfig: string }[],
): string {
  const { namespace, service, port } = PROMETHEUS;
  const entries = clusters.map(({ id, name, platform, kubeconfig }) => {
    const text = kubeconfig.trimEnd().replaceAll("\n", "\n      ");
    return `  - id: ${id}
    name: ${JSON.stringify(name)}
    platform: ${JSON.stringify(platform)}
    prometheus: { namespace: ${namespace}, service: ${service}, port: ${port} }
    kubeconfig: |
      ${text}
`;
  });
  return `clusters:\n${entries.join("")}`;
}

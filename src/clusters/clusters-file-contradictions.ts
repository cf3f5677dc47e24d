import { prometheusCredentialFields } from "./prometheus-credentials.ts";
import { targetContradiction } from "./prometheus-target.ts";
import { usesOwnIdentity } from "./sigv4.ts";
import { isYamlMap, type YamlMap } from "#lib/yaml.ts";

/** The commands that seal the credentials of a cluster of CLUSTERS_FILE. */
export const SEAL = "npm run keys -- seal KUBECONFIG --id ID";
export const SEAL_URL = "npm run keys -- seal --prometheus-url URL --id ID";

/** Options of `keys seal`, where they are not named as the field. */
const OPTIONS: Readonly<Record<string, string>> = {
  bearer_token: "token",
  basic_auth: "basic-auth",
  client_certificate: "client-certificate",
};

/** Problems of an entry of CLUSTERS_FILE that no single field shows. The entry may have other problems, too. */
export function contradictionsOf(raw: unknown): string[] {
  if (!isYamlMap(raw)) return [];
  const prometheus = isYamlMap(raw["prometheus"]) ? raw["prometheus"] : {};
  const contradiction = targetContradiction(prometheus);
  return [
    ...(contradiction === undefined ? [] : [`prometheus: ${contradiction}`]),
    ...(prometheus["url"] === undefined ? ofTunnel(raw, prometheus) : ofUrl(raw, prometheus)),
  ];
}

function ofTunnel(raw: YamlMap, prometheus: YamlMap): string[] {
  const problems: string[] = [];
  if (raw["credentials_jwe"] !== undefined)
    problems.push(
      "credentials_jwe: is for a cluster with prometheus.url: seal the kubeconfig as kubeconfig_jwe",
    );
  for (const name of ["client_certificate", "sigv4"])
    if (prometheus[name] !== undefined) problems.push(`prometheus.${name}: is only for prometheus.url`);
  if (raw["kubeconfig_jwe"] === undefined) {
    if (raw["kubeconfig"] === undefined) problems.push("kubeconfig: is missing");
    return problems;
  }
  if (raw["kubeconfig"] !== undefined)
    problems.push("kubeconfig_jwe: can't be together with kubeconfig: leave one out");
  if (raw["trusted"] === true)
    problems.push("trusted: is for a kubeconfig in clear text, not for kubeconfig_jwe");
  if (raw["context"] !== undefined)
    problems.push("context: is chosen when the kubeconfig is sealed (--context), not beside kubeconfig_jwe");
  return [...problems, ...secretsBeside("kubeconfig_jwe", SEAL, prometheus)];
}

function ofUrl(raw: YamlMap, prometheus: YamlMap): string[] {
  const ofKubeconfig = ["kubeconfig", "kubeconfig_jwe", "context"].filter((name) => raw[name] !== undefined);
  const problems = ofKubeconfig.map(
    (name) => `${name}: can't be together with prometheus.url, which is read without a tunnel: leave one out`,
  );
  const { sigv4 } = prometheus;
  if (isYamlMap(sigv4) && usesOwnIdentity(sigv4) && raw["trusted"] !== true)
    problems.push(
      "prometheus.sigv4: has no keys (access_key_id and secret_access_key), so it is the identity of this program, for which trusted: true is needed",
    );
  if (raw["credentials_jwe"] === undefined) return problems;
  if (raw["trusted"] === true)
    problems.push("trusted: is for credentials in clear text, not for credentials_jwe");
  return [...problems, ...secretsBeside("credentials_jwe", SEAL_URL, prometheus)];
}

function secretsBeside(jwe: string, command: string, prometheus: YamlMap): string[] {
  return Object.keys(prometheusCredentialFields)
    .filter((name) => Object.hasOwn(prometheus, name))
    .map((name) => {
      const option = `--prometheus-${OPTIONS[name] ?? name}-file FILE`;
      return `prometheus.${name}: belongs into ${jwe}: ${command} ${option}`;
    });
}

// Exits with 1 when an object of the release already exists but does not belong to this chart and release: the rule of `bud.foreign`.
import { readFileSync } from "node:fs";
import { get } from "node:https";

const { CHART, RELEASE, NAMESPACE, PATHS, KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT } = process.env;
const account = process.env.ACCOUNT_DIR ?? "/var/run/secrets/kubernetes.io/serviceaccount";
const options = {
  host: KUBERNETES_SERVICE_HOST,
  port: KUBERNETES_SERVICE_PORT,
  ca: readFileSync(`${account}/ca.crt`),
  // Some providers end the token file with a line feed.
  headers: { authorization: `Bearer ${readFileSync(`${account}/token`, "utf8").trim()}` },
  timeout: 20_000,
};

const ask = (path) =>
  new Promise((resolve, reject) => {
    const request = get({ ...options, path }, async (response) => {
      try {
        resolve({
          status: response.statusCode,
          text: (await response.setEncoding("utf8").toArray()).join(""),
        });
      } catch (error) {
        reject(error);
      }
    });
    request.on("timeout", () => request.destroy(new Error("no answer within 20 s")));
    request.on("error", reject);
  });

const problemOf = async (path) => {
  const { status, text } = await ask(path);
  if (status === 404) return undefined;
  if (status !== 200) return `${path}: the API server answered ${status}, so nobody knows whose it is`;
  const { kind, metadata } = JSON.parse(text);
  if (metadata.labels?.["app.kubernetes.io/name"] !== CHART)
    return `${kind} ${metadata.name} is not this chart's`;
  const release = metadata.annotations?.["meta.helm.sh/release-name"];
  const namespace = metadata.annotations?.["meta.helm.sh/release-namespace"];
  if (release === undefined || (release === RELEASE && namespace === NAMESPACE)) return undefined;
  return `${kind} ${metadata.name} belongs to the release ${release} in the namespace ${namespace}`;
};

const problems = [];
for (const path of PATHS.split(" ")) {
  const problem = await problemOf(path).catch(
    (error) =>
      `${path}: the API server does not answer (${error.message}); is its port in networkPolicy.bridge.apiServerPorts?`,
  );
  if (problem !== undefined) problems.push(problem);
}
if (problems.length > 0) {
  process.exitCode = 1;
  process.stderr.write(`Names that the release ${RELEASE} needs are in use in the namespace ${NAMESPACE}:
  ${problems.join("\n  ")}
Nothing but this check was made. Install the chart into a namespace of its own, or give it other names (helm/README.md); guard.enabled=false leaves the check out.
`);
} else {
  process.stdout.write(`The names of the release ${RELEASE} are free or its own.\n`);
}

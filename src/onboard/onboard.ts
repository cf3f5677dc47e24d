import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import { isGranted, type Right } from "#tunnel/access.ts";
import { kubePath, type KubeClient } from "#tunnel/kube-client.ts";
import { managedClusterManifest, type ManifestObject, type ManifestSettings } from "./manifest.ts";

export interface OnboardSettings extends ManifestSettings {
  /** The requested lifetime of the token; the API server may give less. */
  durationMs: number;
}

export interface IssuedToken {
  token: string;
  /** Ms since the epoch. */
  expiresAt: number;
}

const FIELD_MANAGER = "budcluster";
/** JSON is YAML. */
const APPLY = "application/apply-patch+yaml";

const anySchema = z.object({});
const tokenSchema = z.object({ status: z.object({ token: z.string(), expirationTimestamp: z.string() }) });
const presentSchema = z.object({
  metadata: z.object({ labels: z.record(z.string(), z.string()).nullish() }),
  subjects: z
    .array(z.object({ kind: z.string(), name: z.string(), namespace: z.string().nullish() }))
    .nullish(),
});

/** Server-side apply is a patch that may create; what is there is looked at before. */
const VERBS = ["get", "create", "patch"];

const PLURALS: Record<ManifestObject["kind"], string> = {
  ServiceAccount: "serviceaccounts",
  Role: "roles",
  RoleBinding: "rolebindings",
  ClusterRole: "clusterroles",
  ClusterRoleBinding: "clusterrolebindings",
};

/**
 * Applies the manifest (server-side, so that a repeat changes nothing) and requests a token for its ServiceAccount.
 *
 * Throws cluster_forbidden with every right that the kubeconfig's user lacks for it, before anything is changed; cluster_api_error when
 * an object of the same name belongs to another program or a namespace is missing; and the client's other cluster_*.
 */
export async function onboard(
  kube: KubeClient,
  settings: OnboardSettings,
  signal: AbortSignal,
): Promise<IssuedToken> {
  const objects = managedClusterManifest(settings);
  await requireRights(kube, objects, settings, signal);
  for (const object of objects) await requireOwn(kube, object, settings, signal);
  for (const object of objects) await apply(kube, object, signal);
  return await requestToken(kube, settings, signal);
}

async function requireRights(
  kube: KubeClient,
  objects: readonly ManifestObject[],
  { namespace }: OnboardSettings,
  signal: AbortSignal,
): Promise<void> {
  const wanted: Right[] = objects.flatMap(({ apiVersion, kind, metadata }) =>
    VERBS.map((verb) => ({
      verb,
      group: apiVersion.includes("/") ? apiVersion.split("/")[0]! : "",
      resource: PLURALS[kind],
      ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
    })),
  );
  wanted.push({ verb: "create", group: "", resource: "serviceaccounts", subresource: "token", namespace });
  const missing: string[] = [];
  for (const right of wanted) {
    if (!(await isGranted(kube, right, signal))) missing.push(toText(right));
  }
  if (missing.length === 0) return;
  throw new BridgeError(
    "cluster_forbidden",
    `this user of the cluster lacks the rights: ${missing.join("; ")}`,
    {
      hint: "Use a context of a cluster administrator, or have one apply docs/rbac/managed-cluster.yaml. Nothing was changed.",
      details: { missing },
    },
  );
}

function toText({ verb, group, resource, subresource, namespace }: Right): string {
  const name = `${resource}${subresource === undefined ? "" : `/${subresource}`}`;
  const full = group === "" ? name : `${name}.${group}`;
  return `${verb} ${full}${namespace === undefined ? "" : ` in namespace ${namespace}`}`;
}

/**
 * An object of this name that this command did not make stays as it is: applied over, the ServiceAccount of a running program would get the
 * bridge's rights and lose its mounted token, and a binding's subjects would be replaced as a whole.
 */
async function requireOwn(
  kube: KubeClient,
  object: ManifestObject,
  { namespace, serviceAccount }: OnboardSettings,
  signal: AbortSignal,
): Promise<void> {
  const { kind, metadata } = object;
  const what = `get ${PLURALS[kind]} ${metadata.name}`;
  let present: z.infer<typeof presentSchema>;
  try {
    present = await kube.get({ path: pathOf(object), what, schema: presentSchema }, signal);
  } catch (error) {
    if (error instanceof BridgeError && error.details?.["status"] === 404) return;
    throw error;
  }
  const isOther = (subject: NonNullable<typeof present.subjects>[number]): boolean =>
    subject.kind !== "ServiceAccount" || subject.name !== serviceAccount || subject.namespace !== namespace;
  const isOurs = Object.entries(metadata.labels).every(
    ([label, value]) => present.metadata.labels?.[label] === value,
  );
  if (isOurs && !(present.subjects ?? []).some(isOther)) return;
  throw new BridgeError(
    "cluster_api_error",
    `there is a ${kind} ${metadata.name} already, which \`npm run kubeconfig\` did not make`,
    { hint: "Choose another name with --service-account. Nothing was changed." },
  );
}

async function apply(kube: KubeClient, object: ManifestObject, signal: AbortSignal): Promise<void> {
  const { name, namespace } = object.metadata;
  const what = `apply ${object.kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
  try {
    await kube.send(
      {
        method: "PATCH",
        path: pathOf(object),
        query: { fieldManager: FIELD_MANAGER },
        what,
        schema: anySchema,
        contentType: APPLY,
        body: object,
      },
      signal,
    );
  } catch (error) {
    throw explained(error, namespace);
  }
}

function explained(error: unknown, namespace: string | undefined): unknown {
  if (!(error instanceof BridgeError)) return error;
  const status = error.details?.["status"];
  const hint =
    status === 404
      ? `Create the namespace first: kubectl create namespace ${namespace ?? ""}`
      : status === 409
        ? "Somebody else manages an object of this name: choose another one with --service-account."
        : undefined;
  if (hint === undefined) return error;
  return new BridgeError(error.code, error.message, {
    cause: error,
    hint,
    ...(error.details ? { details: error.details } : {}),
  });
}

function pathOf({ apiVersion, kind, metadata }: ManifestObject): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { namespace, name } = metadata;
  return namespace === undefined
    ? kubePath(root, PLURALS[kind], name)
    : kubePath(root, "namespaces", namespace, PLURALS[kind], name);
}

/** TokenRequest (authentication.k8s.io/v1): bound to the ServiceAccount, so deleting that revokes it. */
async function requestToken(
  kube: KubeClient,
  { namespace, serviceAccount, durationMs }: OnboardSettings,
  signal: AbortSignal,
): Promise<IssuedToken> {
  const { status } = await kube.send(
    {
      method: "POST",
      path: kubePath("/api/v1/namespaces", namespace, "serviceaccounts", serviceAccount, "token"),
      what: "create serviceaccounts/token",
      schema: tokenSchema,
      body: {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds: Math.round(durationMs / 1000) },
      },
    },
    signal,
  );
  return { token: status.token, expiresAt: Date.parse(status.expirationTimestamp) };
}

import { z } from "zod";
import { BridgeError } from "#errors/error.ts";
import type { KubeClient } from "./kube-client.ts";

/** A permission as a rule of a Role grants it. */
export interface Right {
  verb: string;
  /** "" is the core group. */
  group: string;
  /** Plural. */
  resource: string;
  subresource?: string;
  /** Absent: of the whole cluster. */
  namespace?: string;
}

type Asker = Pick<KubeClient, "get" | "send">;

const reviewSchema = z.object({ status: z.object({ allowed: z.boolean() }) });
const selfSchema = z.object({ status: z.object({ userInfo: z.object({ username: z.string() }) }) });
const versionSchema = z.object({ gitVersion: z.string() });

/** May the kubeconfig's user do this? Asks with a SelfSubjectAccessReview, which every authenticated user may. Throws cluster_*. */
export async function isGranted(kube: Asker, right: Right, signal: AbortSignal): Promise<boolean> {
  const { status } = await kube.send(
    {
      method: "POST",
      path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
      what: "create selfsubjectaccessreviews",
      schema: reviewSchema,
      body: {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SelfSubjectAccessReview",
        spec: { resourceAttributes: right },
      },
    },
    signal,
  );
  return status.allowed;
}

/**
 * The user that the API server sees behind the credentials (SelfSubjectReview). Undefined when it has no such API (Kubernetes before 1.28).
 * Throws cluster_unauthorized, also for an anonymous user, and the other cluster_*.
 */
export async function whoAmI(kube: Asker, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { status } = await kube.send(
      {
        method: "POST",
        path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        what: "create selfsubjectreviews",
        schema: selfSchema,
        body: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" },
      },
      signal,
    );
    const { username } = status.userInfo;
    if (username !== ANONYMOUS) return username;
  } catch (error) {
    const status = error instanceof BridgeError ? error.details?.["status"] : undefined;
    if (status === 404) return undefined;
    // Every authenticated user may ask (ClusterRole system:basic-user), unless an administrator removed that right.
    if (status !== 403 || !isAboutAnonymous(error)) throw error;
  }
  throw new BridgeError("cluster_unauthorized", "the API server takes the kubeconfig's user for anonymous", {
    hint: "The kubeconfig has no credentials that this API server knows. Register one with a token or a client certificate of this cluster.",
  });
}

const ANONYMOUS = "system:anonymous";

function isAboutAnonymous(error: unknown): boolean {
  return error instanceof Error && error.message.includes(ANONYMOUS);
}

/** For example "v1.36.3". Throws cluster_*. */
export async function readKubernetesVersion(kube: Asker, signal: AbortSignal): Promise<string> {
  const request = { path: "/version", what: "get /version", schema: versionSchema };
  return (await kube.get(request, signal)).gitVersion;
}

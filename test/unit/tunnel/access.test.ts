import { describe, expect, it } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { isGranted, readKubernetesVersion, whoAmI } from "#tunnel/access.ts";
import type { KubeRequest, KubeWrite } from "#tunnel/kube-client.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";

const { signal } = new AbortController();

/** Answers everything alike, and keeps what was sent. */
function answering(answer: unknown) {
  const sent: unknown[] = [];
  const reply = <T>(request: KubeRequest<T>): Promise<T> =>
    answer instanceof Error ? Promise.reject(answer) : Promise.resolve(request.schema.parse(answer));
  return {
    sent,
    get: reply,
    send: <T>(request: KubeWrite<T>): Promise<T> => {
      sent.push(request.body);
      return reply(request);
    },
  };
}

function refused(status: number, message = "no"): BridgeError {
  return new BridgeError("cluster_forbidden", message, { details: { status } });
}

describe("rights", () => {
  it.each([true, false])("are what the API server says: %s", async (allowed) => {
    const kube = answering({ status: { allowed } });
    const right = { verb: "get", group: "", resource: "services", namespace: "a" };
    expect(await isGranted(kube, right, signal)).toBe(allowed);
    expect(kube.sent).toEqual([
      expect.objectContaining({ kind: "SelfSubjectAccessReview", spec: { resourceAttributes: right } }),
    ]);
  });
});

describe("who asks", () => {
  it("is the user's name", async () => {
    expect(await whoAmI(answering({ status: { userInfo: { username: "bridge" } } }), signal)).toBe("bridge");
  });

  it("is not known where the question is not", async () => {
    expect(await whoAmI(answering(refused(404)), signal)).toBeUndefined();
  });

  it.each([
    ["says so", { status: { userInfo: { username: "system:anonymous" } } }],
    ["refuses it", refused(403, 'forbidden: User "system:anonymous" cannot create')],
  ])("is nobody where the API server %s", async (_how, answer) => {
    expect(await bridgeErrorOf(whoAmI(answering(answer), signal))).toMatchObject({
      code: "cluster_unauthorized",
    });
  });

  it("any other failure stays what it is", async () => {
    const error = refused(500);
    expect(await bridgeErrorOf(whoAmI(answering(error), signal))).toBe(error);
  });
});

it("the server's version is read", async () => {
  expect(await readKubernetesVersion(answering({ gitVersion: "v1.36.3" }), signal)).toBe("v1.36.3");
});

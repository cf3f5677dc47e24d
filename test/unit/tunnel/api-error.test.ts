import { describe, expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { remoteText, toApiError, toConnectError } from "#tunnel/api-error.ts";

function nodeError(code: string): Error {
  return Object.assign(new Error(`connect ${code} 10.1.2.3:6443`), { code });
}

describe("toConnectError", () => {
  test.each([
    ["ECONNREFUSED", "cluster_unreachable"],
    ["ENOTFOUND", "cluster_unreachable"],
    ["EHOSTUNREACH", "cluster_unreachable"],
    ["SOMETHING_NEW", "cluster_unreachable"],
    ["ERR_SSL_WRONG_VERSION_NUMBER", "cluster_unreachable"],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "cluster_tls_untrusted"],
    ["SELF_SIGNED_CERT_IN_CHAIN", "cluster_tls_untrusted"],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "cluster_tls_untrusted"],
    ["CERT_HAS_EXPIRED", "cluster_tls_untrusted"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "cluster_tls_untrusted"],
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "cluster_unauthorized"],
    ["ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE", "cluster_unauthorized"],
    ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "cluster_unauthorized"],
    ["ERR_OSSL_PEM_NO_START_LINE", "kubeconfig_invalid"],
  ])("%s is %s, without the address", (code, expected) => {
    const error = toConnectError(nodeError(code));
    expect(error.code).toBe(expected);
    expect(error.message).toContain(code);
    expect(error.message).not.toContain("10.1.2.3");
  });

  test("leaves a BridgeError alone and survives anything", () => {
    const known = new BridgeError("cluster_timeout", "late");
    expect(toConnectError(known)).toBe(known);
    for (const odd of [undefined, null, "text", 5, {}])
      expect(toConnectError(odd).code).toBe("cluster_unreachable");
  });
});

test("toApiError takes what is special to the caller before anything else", () => {
  const error = toApiError({ status: 403, message: "m" }, "get x", { 403: "prometheus_service_not_found" });
  expect(error.code).toBe("prometheus_service_not_found");
});

test("remoteText gives one short line", () => {
  expect(remoteText("a\r\n\u001B[31mb\u202Ec\u2028d ")).toBe("a [31mb c d");
  expect(remoteText("read tcp 10.0.0.6:509->[fd00::5%eth0]:9090: reset, v1.36.3")).toBe(
    "read tcp (address):509->(address):9090: reset, v1.36.3",
  );
  expect(remoteText("x".repeat(1000))).toHaveLength(503);
});

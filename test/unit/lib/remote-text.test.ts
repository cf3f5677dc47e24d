import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toRemoteText, withoutControls } from "#lib/remote-text.ts";

describe("a remote text shows no address and no user", () => {
  test.each([
    [
      "dial tcp: lookup clickhouse.bud-system.svc on 10.96.0.10:53: no such host",
      "dial tcp: lookup (address) on (address):53: no such host",
    ],
    ["clickhouse://bud:hunter2@ch-0.bud:9000/metrics failed", "(address) failed"],
    [
      "failed to connect to `host=pg.internal user=bud database=x`",
      "failed to connect to `host=(address) user=(user) database=x`",
    ],
    ["hostaddr: 'pg7' username: 'bud'", "hostaddr: '(address)' username: '(user)'"],
    ['{"host":"ch-0","user":"bud"}', '{"host":"(address)","user":"(user)"}'],
    [
      "code: 516, message: bud: Authentication failed: password is incorrect, or there is no user with such name.",
      "code: 516, message: (user): Authentication failed: password is incorrect, or there is no user with such name.",
    ],
    [
      "DB::Exception: bud: Not enough privileges. To execute",
      "DB::Exception: (user): Not enough privileges. To execute",
    ],
    ["Access denied for user 'bud'@'10.1.2.3'", "Access denied for user (user)@'(address)'"],
    ['password authentication failed for user "bud"', "password authentication failed for user (user)"],
    ["login failed for user bud", "login failed for user (user)"],
    [
      "dial tcp [fd00::5%eth0]:9000: connect: connection refused",
      "dial tcp (address):9000: connect: connection refused",
    ],
    ["from 2001:db8::1 to 2001:db8:0:0:0:0:0:1, fe80::1%eth0", "from (address) to (address), (address)"],
    ["dial tcp clickhouse:9000: i/o timeout", "dial tcp (address):9000: i/o timeout"],
    ["localhost:9000 refused", "(address):9000 refused"],
    ["getaddrinfo ENOTFOUND clickhouse", "getaddrinfo ENOTFOUND (address)"],
    ["Could not resolve host: clickhouse", "Could not resolve host: (address)"],
    ["proxy ch.example.com or ch.svc.cluster.local", "proxy (address) or (address)"],
    ["ip-10-0-1-2.eu-west-1.compute.internal and ip-10-0-1-3", "(address) and (address)"],
    ['Post "https://ch.bud:8443/?user=bud&password=x": EOF', 'Post "(address)": EOF'],
    ["valid for ch.a, ch.b, not ch-c", "valid for other names than (address)"],
    ["bud@ch-0 refused", "(user) refused"],
  ])("%s", (text, shown) => {
    expect(toRemoteText(text)).toBe(shown);
  });

  test.each([
    "DB::Exception: Table metrics.otel_metrics_gauge does not exist. (UNKNOWN_TABLE)",
    "k8s.node.name, service.name, node.kubernetes.io/hostname, nvidia.com/gpu",
    "endpointslices.discovery.k8s.io is forbidden",
    "1:23: parse error: unexpected character inside braces: '='",
    "line:12 code:516 status:503 at 2026-01-01T00:00:00Z v1.36.3",
    "data refused due to high memory usage (memory_limiter, 512 MiB)",
    "query processing would load too many samples into memory in query execution",
    'http.server.duration{le="0.5"} of /v1/metrics',
  ])("and keeps what helps: %s", (text) => {
    expect(toRemoteText(text)).toBe(text);
  });

  test("but where the caller's own users are meant", () => {
    expect(toRemoteText('User "alice@example.com" cannot get pods on 10.0.0.1', { keepUsers: true })).toBe(
      'User "alice@example.com" cannot get pods on (address)',
    );
  });
});

const CONTROLS = [
  ["right-to-left override", "\u202E"],
  ["left-to-right embedding", "\u202A"],
  ["isolates", "\u2066\u2067\u2068\u2069"],
  ["direction marks", "\u200E\u200F\u061C"],
  ["ESC and a color", "\u001B[31m"],
  ["C1 CSI", "\u009B31m"],
  ["NUL, BEL, DEL", "\u0000\u0007\u007F"],
] as const;
const HARMFUL = /(?![\n\t])[\p{Cc}\p{Cf}]/u;

test.each(CONTROLS)("no control character passes: %s", (_name, control) => {
  expect(toRemoteText(`a${control}b`)).not.toMatch(HARMFUL);
  expect(withoutControls(`a${control}b\n\tc`)).not.toMatch(HARMFUL);
  expect(withoutControls("a\n\tb")).toBe("a\n\tb");
});

const UNITS = "ab:/.@=[]1 \n\t\u0000\u001B\u009B\u202E\u2066\u200F\u00AD\u2028\u{E0001}\u{1F680}é";

test("any text becomes one short line", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from(UNITS)), maxLength: 900 }), (text) => {
      const line = toRemoteText(text);
      expect(line.length).toBeLessThanOrEqual(500);
      expect(line).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
    }),
  );
});

test("a text made to be slow is not", () => {
  for (const piece of ["a.", "1.", "a:", "a@", "[0:", "user ", "host=", "::", "a-", "lookup "]) {
    expect(toRemoteText(piece.repeat(20_000)).length).toBeLessThanOrEqual(500);
  }
});

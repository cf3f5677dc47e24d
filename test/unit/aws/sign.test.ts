import { expect, test } from "vitest";
import { signRequest } from "#aws/sign.ts";
import { createSecret } from "#lib/secret.ts";

// AWS' own test suite of Signature Version 4 (docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html, kept by the AWS SDKs): its
// keys, date, region and service, and the signature that it publishes for each request.

const KEYS = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: createSecret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
};
const SCOPE = { region: "us-east-1", service: "service", keys: KEYS, atMs: Date.UTC(2015, 7, 30, 12, 36) };
const SESSION_TOKEN =
  "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

const request = (method: string, target: string, headers: Record<string, string> = {}, body = "") => ({
  method,
  url: `https://example.amazonaws.com${target}`,
  headers,
  body,
});
const UNRESERVED = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const form = { "Content-Type": "application/x-www-form-urlencoded" };

test.each([
  [
    "get-vanilla",
    request("GET", "/"),
    "host;x-amz-date",
    "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  ],
  [
    "get-unreserved",
    request("GET", UNRESERVED),
    "host;x-amz-date",
    "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
  ],
  [
    "get-vanilla-query-order-key-case",
    request("GET", "/?Param2=value2&Param1=value1"),
    "host;x-amz-date",
    "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
  ],
  [
    "get-vanilla-query-order-value",
    request("GET", "/?Param1=value2&Param1=value1"),
    "host;x-amz-date",
    "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
  ],
  [
    "get-vanilla-utf8-query",
    request("GET", "/?%E1%88%B4=bar"),
    "host;x-amz-date",
    "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
  ],
  [
    "get-header-key-duplicate",
    request("GET", "/", { "My-Header1": "value2,value2,value1" }),
    "host;my-header1;x-amz-date",
    "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
  ],
  [
    "get-header-value-trim",
    request("GET", "/", { "My-Header1": " value1", "My-Header2": ' "a   b   c"' }),
    "host;my-header1;my-header2;x-amz-date",
    "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
  ],
  [
    "post-x-www-form-urlencoded",
    request("POST", "/", form, "Param1=value1"),
    "content-type;host;x-amz-date",
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  ],
])("%s has the published signature", (_name, wanted, signedHeaders, signature) => {
  expect(signRequest(wanted, SCOPE)).toEqual({
    "x-amz-date": "20150830T123600Z",
    authorization: `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=${signedHeaders}, Signature=${signature}`,
  });
});

test("post-sts-header-after: the token of temporary keys is sent and signed", () => {
  const keys = { ...KEYS, sessionToken: createSecret(SESSION_TOKEN) };
  const headers = signRequest(request("POST", "/"), { ...SCOPE, keys });
  expect(headers["x-amz-security-token"]).toBe(SESSION_TOKEN);
  expect(headers["authorization"]).toMatch(
    /SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead$/,
  );
});

test("a path is encoded a second time, and a query as it is meant", () => {
  const signed = (target: string): string => signRequest(request("GET", target), SCOPE)["authorization"]!;
  expect(signed("/a%20b")).not.toBe(signed("/a%2520b"));
  expect(signed("/?q=a%20b%2Bc%2A")).toBe(signed("/?q=a%20b%2bc*"));
});

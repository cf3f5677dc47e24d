import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import { describe, expect, test } from "vitest";
import { createApiServerGuard, type ApiServerGuard } from "#tunnel/api-server-guard.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";

const signal = new AbortController().signal;

/** A resolver that knows these names; what it was asked for is in `asked`. */
function resolver(names: Record<string, string[] | (() => string[])>) {
  const asked: string[] = [];
  const resolve = async (hostname: string): Promise<LookupAddress[]> => {
    asked.push(hostname);
    const found = names[hostname];
    if (!found) throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { code: "ENOTFOUND" });
    const addresses = typeof found === "function" ? found() : found;
    return await Promise.resolve(
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  };
  return { asked, resolve };
}

/** The addresses that net.connect would get. */
function dial(
  guard: ApiServerGuard,
  name: string,
  options: Parameters<LookupFunction>[1] = { all: true },
): Promise<unknown> {
  return new Promise((done, fail) => {
    guard.lookup(name, options, (error, address, family) =>
      error ? fail(error) : done(family === undefined ? address : [address, family]),
    );
  });
}

describe("a literal address", () => {
  const guard = createApiServerGuard({ cidrs: [] });

  test.each([
    ["https://127.0.0.1:6443", "loopback"],
    ["https://127.255.1.2", "loopback"],
    ["https://[::1]:6443", "loopback"],
    ["https://0.0.0.0", "unspecified"],
    ["https://[::]", "unspecified"],
    ["https://169.254.169.254", "link-local"],
    ["https://169.254.1.1", "link-local"],
    ["https://[fe80::1]", "link-local"],
    ["https://224.0.0.1", "multicast"],
    ["https://[ff02::1]", "multicast"],
    ["https://255.255.255.255", "reserved"],
    ["https://[fd00:ec2::254]", "metadata"],
    ["https://[fd20:ce::254]", "metadata"],
    ["https://100.100.100.200", "metadata"],
    ["https://168.63.129.16", "metadata"],
    ["https://192.0.0.192", "metadata"],
    // Other ways to write them.
    ["https://2130706433", "loopback"],
    ["https://0x7f000001", "loopback"],
    ["https://0x7f.1", "loopback"],
    ["https://017700000001", "loopback"],
    ["https://127.1", "loopback"],
    ["https://127.0.0.1.", "loopback"],
    ["https://0xa9fea9fe", "link-local"],
    ["https://[0:0:0:0:0:0:0:1]", "loopback"],
    // IPv6 addresses that stand for an IPv4 address.
    ["https://[::ffff:127.0.0.1]", "loopback"],
    ["https://[::ffff:a9fe:a9fe]", "link-local"],
    ["https://[::127.0.0.1]", "loopback"],
    ["https://[::ffff:0:127.0.0.1]", "loopback"],
    ["https://[64:ff9b::169.254.169.254]", "link-local"],
    ["https://[64:ff9b:1::a9fe:a9fe]", "link-local"],
    ["https://[64:ff9b::a83f:8110]", "metadata"],
    // NAT64 of local use by the layouts of RFC 6052, section 2.2: prefixes of 48, 56, 64 and 96 bits.
    ["https://[64:ff9b:1:a9fe:a9:fe00::]", "link-local"],
    ["https://[64:ff9b:1:7f00:0:100::]", "loopback"],
    ["https://[64:ff9b:1:6464:64:c800::]", "metadata"],
    ["https://[64:ff9b:1:a83f:81:1000::]", "metadata"],
    ["https://[64:ff9b:1:e000:0:100::]", "multicast"],
    ["https://[64:ff9b:1:aa7f:0:1::]", "loopback"],
    ["https://[64:ff9b:1:aaaa:a9:fea9:fe00:0]", "link-local"],
    ["https://[64:ff9b:1:fffe::169.254.169.254]", "link-local"],
    // The bits after the address must be zero, but a translator may ignore them, and the octet "u".
    ["https://[64:ff9b:1:a9fe:a9:fe00:a00:1]", "link-local"],
    ["https://[64:ff9b:1:7f00:ff00:100::]", "loopback"],
    ["https://[2002:7f00:1::]", "loopback"],
    ["https://[2001:0:7f00:1::]", "Teredo"],
  ])("%s is refused", async (server, kind) => {
    const error = await bridgeErrorOf(guard.check(server, signal));
    expect(error).toMatchObject({ code: "api_server_refused", httpStatus: 422 });
    expect(error.message).toContain(kind);
    expect((await bridgeErrorOf(() => guard.checkHost(new URL(server).hostname))).code).toBe(
      "api_server_refused",
    );
  });

  test.each([
    "https://10.1.2.3",
    "https://172.16.0.1",
    "https://192.168.1.1:6443",
    "https://100.64.0.1",
    "https://203.0.113.9",
    "https://[fd12:3456::1]",
    "https://[2606:4700::1]",
    "https://[64:ff9b::a01:203]",
    "https://[64:ff9b:1:a01:2:300::]",
    "https://[64:ff9b:1:c0a8:1:100::]",
    "https://[64:ff9b:1:aa0a:1:203::]",
    "https://[64:ff9b:1:aaaa:a:102:300:0]",
    "https://[64:ff9b:1::10.1.2.3]",
    "https://[64:ff9b:1:fffe::10.1.2.3]",
    "https://[64:ff9b:2:a9fe:a9:fe00::]",
  ])("%s is allowed", async (server) => {
    await expect(guard.check(server, signal)).resolves.toBeUndefined();
    expect(guard.checkHost(new URL(server).hostname)).toBeUndefined();
  });

  test("networks that were allowed are allowed, in every form, and no others", async () => {
    const some = createApiServerGuard({ cidrs: ["127.0.0.1", "169.254.10.0/24", "fe80::/64"] });
    await some.check("https://[64:ff9b:1:a9fe:a:700::]", signal);
    const mixed = await bridgeErrorOf(some.check("https://[64:ff9b:1:a9fe:a9:fe00:7f00:1]", signal));
    expect(mixed.code).toBe("api_server_refused");
    for (const server of [
      "https://127.1",
      "https://[::ffff:7f00:1]",
      "https://169.254.10.7",
      "https://[fe80::2]",
    ])
      await some.check(server, signal);
    for (const server of ["https://127.0.0.2", "https://169.254.169.254", "https://[fe80:1::1]"])
      expect((await bridgeErrorOf(some.check(server, signal))).code).toBe("api_server_refused");
  });
});

describe("a name", () => {
  test("all of its addresses must be allowed", async () => {
    const { resolve } = resolver({
      good: ["203.0.113.9", "2606:4700::1"],
      bad: ["169.254.169.254"],
      mixed: ["203.0.113.9", "::1"],
    });
    const guard = createApiServerGuard({ cidrs: [] }, resolve);
    await guard.check("https://good:6443", signal);
    expect(await dial(guard, "good")).toEqual([
      { address: "203.0.113.9", family: 4 },
      { address: "2606:4700::1", family: 6 },
    ]);
    for (const name of ["bad", "mixed"]) {
      const error = await bridgeErrorOf(guard.check(`https://${name}`, signal));
      expect(error.code).toBe("api_server_refused");
      // The answer of a resolver in here is nobody's business out there.
      expect(error.message).not.toMatch(/\d+\.\d+|::1/);
      await expect(dial(guard, name)).rejects.toMatchObject({ code: "api_server_refused" });
    }
  });

  test("is resolved once for a dial, whatever form is asked for", async () => {
    const { resolve, asked } = resolver({ good: ["203.0.113.9", "2606:4700::1"] });
    const guard = createApiServerGuard({ cidrs: [] }, resolve);
    expect(await dial(guard, "good", {})).toEqual(["203.0.113.9", 4]);
    expect(await dial(guard, "good", { family: 6 })).toEqual(["2606:4700::1", 6]);
    expect(await dial(guard, "good", { family: "IPv6", all: true })).toEqual([
      { address: "2606:4700::1", family: 6 },
    ]);
    expect(asked).toHaveLength(3);
  });

  test("that answers a public address first and a private one later is refused when it is dialled", async () => {
    const answers = [["203.0.113.9"], ["127.0.0.1"]];
    const { resolve } = resolver({ rebound: () => answers.shift() ?? ["127.0.0.1"] });
    const guard = createApiServerGuard({ cidrs: [] }, resolve);
    await guard.check("https://rebound", signal);
    await expect(dial(guard, "rebound")).rejects.toMatchObject({ code: "api_server_refused" });
  });

  test("that does not resolve may be registered, and can't be dialled", async () => {
    const guard = createApiServerGuard({ cidrs: [] }, resolver({ empty: [] }).resolve);
    await guard.check("https://nowhere", signal);
    await expect(dial(guard, "nowhere")).rejects.toMatchObject({ code: "ENOTFOUND" });
    await expect(dial(guard, "empty")).rejects.toMatchObject({ code: "ENOTFOUND" });
  });

  test("whose resolver hangs is waited for as long as the signal allows", async () => {
    const guard = createApiServerGuard({ cidrs: [] }, () => new Promise<never>(() => {}));
    const ended = new AbortController();
    const checked = guard.check("https://slow", ended.signal);
    ended.abort(new Error("enough"));
    await expect(checked).rejects.toThrow("enough");
  });

  test("localhost is resolved by the system, and refused", async () => {
    const guard = createApiServerGuard({ cidrs: [] });
    expect((await bridgeErrorOf(guard.check("https://localhost:6443", signal))).code).toBe(
      "api_server_refused",
    );
  });
});

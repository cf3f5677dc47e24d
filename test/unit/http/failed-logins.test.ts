import { describe, expect, it } from "vitest";
import { createFailedLogins, FAILED_LOGIN_LIMITS } from "#http/failed-logins.ts";
import { createManualClock } from "../../helpers/manual-clock.ts";

const LIMITS = {
  perAddress: { burst: 3, refillMs: 1000 },
  together: { burst: 100, refillMs: 10 },
  addressesMax: 5,
};

function setUp(limits = LIMITS) {
  const clock = createManualClock();
  const failedLogins = createFailedLogins(clock, limits);
  return { clock, count: (address: string) => failedLogins.count(address) };
}

describe("failed logins", () => {
  it("are limited for each address by itself, and again when it has waited", () => {
    const { clock, count } = setUp();
    for (let i = 0; i < 3; i++) expect(count("192.0.2.1")).toEqual({ limited: false });
    expect(count("192.0.2.1")).toEqual({ limited: true, who: "address", retryAfterMs: 1000, first: true });
    clock.advance(400);
    expect(count("192.0.2.1")).toEqual({ limited: true, who: "address", retryAfterMs: 600, first: false });
    expect(count("192.0.2.2")).toEqual({ limited: false });
    clock.advance(600);
    expect(count("192.0.2.1")).toEqual({ limited: false });
    expect(count("192.0.2.1")).toMatchObject({ limited: true, first: false });
  });

  it("are news again when the address was quiet for long", () => {
    const { clock, count } = setUp();
    for (let i = 0; i < 5; i++) count("192.0.2.1");
    clock.advance(10_000);
    for (let i = 0; i < 3; i++) expect(count("192.0.2.1").limited).toBe(false);
    expect(count("192.0.2.1")).toMatchObject({ limited: true, first: true });
  });

  it("never save up more than the burst", () => {
    const { clock, count } = setUp();
    clock.advance(86_400_000);
    expect(Array.from({ length: 5 }, () => count("192.0.2.1").limited)).toEqual([
      false,
      false,
      false,
      true,
      true,
    ]);
  });

  it.each([
    ["of one IPv6 /64", "2001:db8::1", "2001:db8:0:0:ffff::2"],
    ["of one IPv6 /64 written out", "2001:DB8:0:0:1:2:3:4", "2001:db8::9"],
    ["of an IPv4 address in IPv6", "192.0.2.9", "::ffff:192.0.2.9"],
    ["of a link-local one with its zone", "fe80::1%eth0", "fe80::2"],
    ["of no address at all", "", ""],
  ])("%s count together", (_name, one, other) => {
    const { count } = setUp();
    for (let i = 0; i < 3; i++) count(one);
    expect(count(other).limited).toBe(true);
  });

  it("of two IPv6 /64 count apart", () => {
    const { count } = setUp();
    for (let i = 0; i < 4; i++) count("2001:db8:0:1::1");
    expect(count("2001:db8:0:2::1").limited).toBe(false);
  });

  it("of many addresses are limited together, and remember no more than some addresses", () => {
    const { clock, count } = setUp({ ...LIMITS, together: { burst: 20, refillMs: 1000 } });
    const seen = Array.from({ length: 30 }, (_, i) => count(`192.0.2.${i}`));
    expect(seen.filter(({ limited }) => !limited)).toHaveLength(20);
    expect(seen[20]).toEqual({ limited: true, who: "together", retryAfterMs: 1000, first: true });
    clock.advance(30_000);
    // The five last ones are remembered: the last is at one failure, the first is forgotten.
    for (let i = 0; i < 3; i++) expect(count("192.0.2.0").limited).toBe(false);
    expect(count("192.0.2.0").limited).toBe(true);
  });

  it("push out the address that failed longest ago", () => {
    const { count } = setUp();
    for (let i = 0; i < 3; i++) count("192.0.2.1");
    for (const last of [2, 3, 4, 5]) count(`192.0.2.${last}`);
    expect(count("192.0.2.1").limited).toBe(true);
    for (const last of [6, 7, 8, 9]) count(`192.0.2.${last}`);
    expect(count("192.0.2.1").limited).toBe(true);
    for (const last of [10, 11, 12, 13, 14]) count(`192.0.2.${last}`);
    expect(count("192.0.2.1").limited).toBe(false);
  });

  it("by default: ten at once from one address, ten a second from all together", () => {
    const { count, clock } = setUp(FAILED_LOGIN_LIMITS);
    const refused = Array.from({ length: 300 }, (_, i) => count(`198.51.100.${i % 250}`)).filter(
      ({ limited }) => limited,
    );
    expect(refused).toHaveLength(100);
    clock.advance(1000);
    const more = Array.from({ length: 300 }, (_, i) => count(`203.0.113.${i % 250}`));
    expect(more.filter(({ limited }) => !limited)).toHaveLength(10);
  });
});

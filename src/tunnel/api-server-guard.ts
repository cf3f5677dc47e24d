import { lookup as systemLookup, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { BridgeError } from "#errors/error.ts";
import { abortable } from "#lib/clock.ts";

/** Every address of a host name; rejects with the resolver's error. */
export type Resolve = (hostname: string) => Promise<LookupAddress[]>;

/**
 * Decides where an untrusted kubeconfig's API server, or a Prometheus without a tunnel, may be, so that nobody can use the bridge to reach addresses that only this machine can reach: itself,
 * its link and its cloud's metadata service (SSRF). Networks of an organisation (RFC 1918, RFC 6598, ULA) are allowed: clusters are there.
 */
export interface ApiServerGuard {
  /** Throws api_server_refused when the host of a URL is a literal address that is not allowed. Names pass: `lookup` is for them. */
  checkHost(hostname: string): void;
  /**
   * As `checkHost`, and a name is resolved as well; one that does not resolve passes, as nothing can be dialled by it. Throws
   * api_server_refused, or the signal's reason.
   */
  check(server: string, signal: AbortSignal): Promise<void>;
  /**
   * For net.connect: the addresses that were checked are those that are dialled. All of an answer must be allowed: one that mixes them
   * is what an attack looks like. Fails with api_server_refused or the resolver's error.
   */
  lookup: LookupFunction;
}

type Family = "ipv4" | "ipv6";

/** Networks that are refused, with their names. IANA special-purpose registries; metadata: the clouds' own documentation. */
const REFUSED: readonly (readonly [kind: string, network: string, bits: number])[] = [
  ["an unspecified", "0.0.0.0", 8],
  ["a loopback", "127.0.0.0", 8],
  ["a link-local", "169.254.0.0", 16],
  ["a multicast", "224.0.0.0", 4],
  ["a reserved", "240.0.0.0", 4],
  // Alibaba Cloud, Azure's WireServer, Oracle Cloud; AWS, GCP and OpenStack use 169.254.169.254.
  ["a metadata service's", "100.100.100.200", 32],
  ["a metadata service's", "168.63.129.16", 32],
  ["a metadata service's", "192.0.0.192", 32],
  ["an unspecified", "::", 128],
  ["a loopback", "::1", 128],
  ["a link-local", "fe80::", 10],
  ["a multicast", "ff00::", 8],
  ["a Teredo", "2001::", 32],
  ["a metadata service's", "fd00:ec2::254", 128],
  ["a metadata service's", "fd00:c1::a9fe:a9fe", 128],
  ["a metadata service's", "fd20:ce::254", 128],
];

/** Where an IPv6 address has the four bytes of an IPv4 address: their positions among its sixteen. */
type Layout = readonly [number, number, number, number];

/** RFC 6052, section 2.2, by the length of the prefix; byte 8 (bits 64 to 71, "u") belongs to none of them. The shortest first. */
const LAYOUT_48: Layout = [6, 7, 9, 10];
const LAYOUT_56: Layout = [7, 9, 10, 11];
const LAYOUT_64: Layout = [9, 10, 11, 12];
const LAYOUT_96: Layout = [12, 13, 14, 15];

/**
 * IPv6 networks whose addresses stand for an IPv4 address, with the layouts that are possible there. An operator may use a longer prefix of
 * his own within 64:ff9b:1::/48 (RFC 8215). The bits behind the IPv4 address are zero (RFC 6052), so the first layout that leaves only zeros
 * behind it is the one.
 */
const EMBEDDING: readonly (readonly [network: string, bits: number, layouts: readonly Layout[]])[] = [
  ["::", 96, [LAYOUT_96]], // IPv4-compatible (RFC 4291)
  ["::ffff:0:0", 96, [LAYOUT_96]], // IPv4-mapped (RFC 4291)
  ["::ffff:0:0:0", 96, [LAYOUT_96]], // IPv4-translated (RFC 2765)
  ["64:ff9b::", 96, [LAYOUT_96]], // NAT64, the well-known prefix (RFC 6052)
  ["64:ff9b:1::", 48, [LAYOUT_48, LAYOUT_56, LAYOUT_64, LAYOUT_96]], // NAT64 of local use (RFC 8215)
  ["2002::", 16, [[2, 3, 4, 5]]], // 6to4 (RFC 3056)
];

const REFUSED_LISTS = REFUSED.map(([kind, network, bits]) => ({ kind, list: toList(network, bits) }));
const EMBEDDING_LISTS = EMBEDDING.map(([network, bits, layouts]) => ({
  list: toList(network, bits),
  layouts,
}));

/** Whose address a guard judges, for its errors. */
export interface GuardSubject {
  /** Before "a loopback address". */
  literal: string;
  /** The same, of a name. */
  named: string;
  /** `details.field`. */
  field: string;
  hint?: string;
}

const API_SERVER: GuardSubject = {
  literal: "the kubeconfig's server is",
  named: "the API server's name resolves to",
  field: "server",
};

/** Of a Prometheus without a tunnel. */
export const PROMETHEUS_URL: GuardSubject = {
  literal: "the host of prometheus.url is",
  named: "the host of prometheus.url resolves to",
  field: "prometheus.url",
  hint: "Use an address of this Prometheus that is not loopback, link-local, multicast or a cloud's metadata service. If such an address is intended, allow it with API_SERVER_CIDRS or ALLOW_PRIVATE_API_SERVERS=true, or vouch for the cluster with trusted: true in CLUSTERS_FILE.",
};

/** `cidrs`: networks that are allowed all the same, as `address/length` or one address. `resolve`: default, as the system resolves. */
export function createApiServerGuard(
  settings: { cidrs: readonly string[] },
  resolve: Resolve = resolveAll,
  subject: GuardSubject = API_SERVER,
): ApiServerGuard {
  const allowed = new BlockList();
  for (const cidr of settings.cidrs) {
    const [network = "", bits] = cidr.split("/");
    if (bits === undefined) allowed.addAddress(network, familyOf(network));
    else allowed.addSubnet(network, Number(bits), familyOf(network));
  }

  const checkAddress = (address: string, what: string): void => {
    if (allowed.check(address, familyOf(address))) return;
    for (const form of [address, ...embeddedIn(address)]) {
      if (allowed.check(form, familyOf(form))) continue;
      const found = REFUSED_LISTS.find(({ list }) => isIn(list, form));
      if (found) throw refusal(`${what} ${found.kind} address`, subject);
    }
  };

  const checkHost = (hostname: string): void => {
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    if (isIP(host) !== 0) checkAddress(host, subject.literal);
  };

  const resolveChecked = async (hostname: string): Promise<LookupAddress[]> => {
    const addresses = await resolve(hostname);
    for (const { address } of addresses) checkAddress(address, subject.named);
    return addresses;
  };

  return {
    checkHost,
    check: async (server, signal) => {
      const { hostname } = new URL(server);
      checkHost(hostname);
      if (isIP(hostname.replace(/^\[(.*)\]$/, "$1")) !== 0) return;
      try {
        await abortable(resolveChecked(hostname), signal);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (error instanceof BridgeError) throw error;
      }
    },
    lookup: (hostname, options, callback) => {
      resolveChecked(hostname).then(
        (addresses) => answer(hostname, addresses, options, callback),
        (error: unknown) => callback(error as NodeJS.ErrnoException, ""),
      );
    },
  };
}

/** In the form that the caller asked for: one address, or all of them. */
function answer(
  hostname: string,
  addresses: LookupAddress[],
  options: Parameters<LookupFunction>[1],
  callback: Parameters<LookupFunction>[2],
): void {
  const family = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : (options.family ?? 0);
  const fitting = addresses.filter((each) => family === 0 || each.family === family);
  const [first] = fitting;
  if (!first) {
    callback(Object.assign(new Error(`${hostname} has no address`), { code: "ENOTFOUND" }), "");
  } else if (options.all) callback(null, fitting);
  else callback(null, first.address, first.family);
}

function resolveAll(hostname: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    systemLookup(hostname, { all: true, verbatim: true }, (error, addresses) => {
      if (error) reject(error);
      else resolve(addresses);
    });
  });
}

function refusal(text: string, { field, hint }: GuardSubject): BridgeError {
  return new BridgeError("api_server_refused", text, { details: { field }, ...(hint ? { hint } : {}) });
}

function familyOf(address: string): Family {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}

function toList(network: string, bits: number): BlockList {
  const list = new BlockList();
  list.addSubnet(network, bits, familyOf(network));
  return list;
}

/** BlockList itself finds IPv4 networks' addresses in their mapped form. */
function isIn(list: BlockList, address: string): boolean {
  return list.check(address, familyOf(address));
}

/** The IPv4 addresses that an IPv6 address stands for. */
function embeddedIn(address: string): string[] {
  if (isIP(address) !== 6) return [];
  const found = EMBEDDING_LISTS.filter(({ list }) => isIn(list, address));
  if (found.length === 0) return [];
  const bytes = groupsOf(address).flatMap((group) => [group >> 8, group & 255]);
  return found.flatMap(({ layouts }) => readLayouts(bytes, layouts));
}

/**
 * The address in the layout that leaves only zeros behind it. A translator that ignores the bits behind would read a shorter layout:
 * the address in that one is judged too, unless it is no host (0.x.x.x, or x.x.0.0 as of an operator's own longer prefix).
 */
function readLayouts(bytes: readonly number[], layouts: readonly Layout[]): string[] {
  const fits = (layout: Layout): boolean => bytes.slice(layout[3] + 1).every((byte) => byte === 0);
  const chosen = layouts.findIndex(fits);
  const addresses = layouts.slice(0, chosen + 1).map((layout) => layout.map((at) => bytes[at]!));
  return addresses
    .filter(([a, _b, c, d], i) => i === chosen || (a !== 0 && (c !== 0 || d !== 0)))
    .map((address) => address.join("."));
}

/** The eight groups of an IPv6 address: the URL parser writes any of its forms in the one canonical way. */
function groupsOf(address: string): number[] {
  const canonical = new URL(`http://[${address.replace(/%.*$/, "")}]`).hostname.slice(1, -1);
  const [head = "", tail] = canonical.split("::");
  const read = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  if (tail === undefined) return read(head);
  const before = read(head);
  const after = read(tail);
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}

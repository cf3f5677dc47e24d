/** "." and ".." can't be in a URL's path: clients remove them (RFC 3986, section 5.2.4). */
export const CLUSTER_ID = /^(?!\.\.?$)[A-Za-z0-9._-]{1,64}$/;

/** What a cluster id must be, for error messages. */
export const CLUSTER_ID_RULE = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -, and not . or ..";

export function isClusterId(text: string): boolean {
  return CLUSTER_ID.test(text);
}

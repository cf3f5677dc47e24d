import { retryOnConflict } from "#state/retry-on-conflict.ts";
import type { StateStore } from "#state/store.ts";
import { MEMBERS_KEY, toMembers, type MembersRecord } from "./records.ts";

const CONFLICTS_MAX = 20;

/** Changes the list of all replicas; writes nothing when `change` returns undefined. Throws state_*. */
export async function updateMembers(
  store: StateStore,
  change: (members: MembersRecord) => MembersRecord | undefined,
): Promise<void> {
  await retryOnConflict(CONFLICTS_MAX, async () => {
    const found = await store.get<unknown>(MEMBERS_KEY);
    const changed = change(toMembers(found?.value));
    if (changed) await store.put(MEMBERS_KEY, changed, found?.etag);
  });
}

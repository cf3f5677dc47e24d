/** A member record is good for this time from the moment its writing began. */
export const MEMBER_MS = 30_000;
/** So far may the clocks of two replicas be apart. */
export const SKEW_MS = 10_000;
/** A replica trusts its own record only so long: it stops before another one may take over, whatever the clocks say. */
export const OWN_MS = MEMBER_MS - SKEW_MS;
export const RENEW_MS = 10_000;
/** After a renewal that failed. */
export const RENEW_AGAIN_MS = 2_000;
/** Of one attempt to renew: one that hangs must leave time for more. */
export const RENEW_LIMIT_MS = 4_000;
/** Between two looks at the other replicas and at the round. */
export const LOOK_MS = 2_000;
/** Between two scans of the clusters. */
export const SCAN_MS = 5_000;
/** After this time the record of a dead replica is removed. */
export const FORGET_MS = 3_600_000;

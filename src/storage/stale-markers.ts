/**
 * In the metric tables the cluster_id of a stale marker (a row with Flags & 1) is this and the cluster's id, by 0007_stale_markers.sql. No cluster has such an id.
 */
export const STALE_PREFIX = "stale/";

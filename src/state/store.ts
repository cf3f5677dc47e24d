/** A stored JSON value with the ETag that the next write of the same key must name. */
export interface StateRecord<T> {
  value: T;
  etag: string;
}

/**
 * Key-value store of the state records (docs: "State records"). Values are JSON. Writes are first-write: a `put` with an ETag that is no
 * longer the stored one, or without an ETag for a key that exists, throws BridgeError `state_conflict` and changes nothing.
 * Every failure of the store itself is BridgeError `state_unavailable`; a record that holds no value of ours is `state_record_damaged` when it is read.
 */
export interface StateStore {
  get<T>(key: string): Promise<StateRecord<T> | undefined>;
  /**
   * The records of these keys in one request; missing ones are left out. A record that holds no value of ours has the value undefined. The answer may
   * be older than that of `get`: a `put` on its ETags is as safe as ever, but to act on what is missing needs a `get`.
   */
  getMany(keys: readonly string[]): Promise<ReadonlyMap<string, StateRecord<unknown>>>;
  /** Returns the new ETag. `etag` undefined: the key must not exist yet. */
  put(key: string, value: unknown, etag: string | undefined): Promise<string>;
  /** Deleting what is not there is a success. */
  delete(key: string): Promise<void>;
  /** Can it be read now? Throws `state_unavailable`. There is no listing of keys: Dapr's stores can't do it. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** What the work on one cluster needs of the store. */
export type StateRecords = Pick<StateStore, "get" | "put" | "delete">;

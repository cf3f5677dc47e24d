import { BridgeError } from "#errors/error.ts";
import { toRecordText } from "#state/record-text.ts";
import type { StateRecord, StateStore } from "#state/store.ts";

export interface MemoryStore extends StateStore {
  /** Successful writes so far. */
  writes(): number;
  /** Set to let every call fail with it. */
  failure: BridgeError | undefined;
}

const VALUE_BYTES_MAX = 16 * 1024 * 1024;

/** The state store without a file: values go through JSON, and writes are first-write by ETag. */
export function createMemoryStore(): MemoryStore {
  const records = new Map<string, { json: string; etag: string }>();
  let writes = 0;
  const store: MemoryStore = {
    failure: undefined,
    writes: () => writes,
    get: async <T>(key: string): Promise<StateRecord<T> | undefined> => {
      if (store.failure) throw store.failure;
      const record = records.get(key);
      return await Promise.resolve(record && { value: JSON.parse(record.json) as T, etag: record.etag });
    },
    getMany: async (keys) => {
      const found = await Promise.all(keys.map(async (key) => [key, await store.get<unknown>(key)] as const));
      return new Map(found.flatMap(([key, record]) => (record ? [[key, record] as const] : [])));
    },
    put: async (key, value, etag) => {
      const json = toRecordText(key, value, VALUE_BYTES_MAX);
      if (store.failure) throw store.failure;
      // A real store answers later: two writes that are under way at once are found out.
      await Promise.resolve();
      if (records.get(key)?.etag !== etag) throw new BridgeError("state_conflict", `${key} was changed`);
      records.set(key, { json, etag: String(++writes) });
      return String(writes);
    },
    delete: async (key) => {
      records.delete(key);
      await Promise.resolve();
    },
    check: async () => {
      if (store.failure) throw store.failure;
      await Promise.resolve();
    },
    close: async () => await Promise.resolve(),
  };
  return store;
}

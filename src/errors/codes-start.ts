import type { ErrorKind } from "./error-kind.ts";

/** The codes of the program's own parts: configuration, state, credentials, ClickHouse. A part of ERRORS. */
export const START_ERRORS = {
  // Starting up
  config_invalid: {
    cause:
      "An environment variable or an argument has a value that is not allowed, contradicts another one, or is misspelt.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named environment variables; .env.example lists all of them.",
  },
  clusters_file_invalid: {
    cause:
      "CLUSTERS_FILE can't be read, is not valid YAML of the documented form, or contains a kubeconfig that is refused.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named field of CLUSTERS_FILE.",
  },
  queries_file_invalid: {
    cause: "QUERIES_FILE can't be read, does not have the documented form, or contains invalid PromQL.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named entry of QUERIES_FILE.",
  },
  tokens_file_invalid: {
    cause: "API_TOKENS_FILE can't be read, or an entry does not have the documented form.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named entry of API_TOKENS_FILE.",
  },
  credentials_keys_invalid: {
    cause:
      "CREDENTIALS_KEYS_DIR can't be read or contains no key, or one of its keys is damaged, encrypted, too short or not a private RSA key.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "CREDENTIALS_KEYS_DIR must be a directory with private RSA keys of at least 3072 bits, each a PEM file (PKCS #8) whose name ends in .pem. `npm run keys -- generate DIR` creates one.",
  },
  file_descriptors_exhausted: {
    cause:
      "While the program was starting, the process or the whole machine reached its limit of open files and connections.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Raise the limit of open files for this process: `ulimit -n 65536`, LimitNOFILE= of a systemd unit, `docker run --ulimit nofile=65536`. If the whole machine has reached its limit (ENFILE), raise fs.file-max or find the process that holds the files.",
  },
  state_unavailable: {
    cause:
      "The state store does not work: DATA_DIR is full, read-only or used by another process, or Dapr's state store does not answer.",
    retryable: true,
    httpStatus: 503,
    remedy: "Check that DATA_DIR is writable and not full, and that no other process uses it.",
  },
  state_damaged: {
    cause:
      "The state file is damaged, is not a SQLite database of this program, or was written by a newer version.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Stop the program and run the commands that the startup error prints; docs/operations.md (Damaged data) explains them. The program deletes and moves nothing by itself.",
  },
  state_conflict: {
    cause: "Two writers changed the same state record; the second one was refused.",
    retryable: true,
    httpStatus: 409,
    remedy: "Another writer changed the same record; the next round reads it again.",
  },
  state_record_damaged: {
    cause:
      "A record in the state store is not valid: it was truncated or changed, or another program writes the same keys. Only the record's own cluster is affected.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Restore the record from a backup of the state store. You can also delete a cluster that was registered over the API, and register it again.",
  },

  // The credentials of a managed cluster
  kubeconfig_invalid: {
    cause: "The kubeconfig is malformed or incomplete.",
    retryable: false,
    httpStatus: 400,
    remedy:
      "Provide a kubeconfig of one cluster with certificate-authority-data and a token or a client certificate inline.",
  },
  kubeconfig_refused: {
    cause:
      "The kubeconfig would run a program, read a file, connect to another host, impersonate a user or skip certificate verification.",
    retryable: false,
    httpStatus: 400,
    remedy:
      "Use inline credentials (token, client-certificate-data, client-key-data); only a cluster with `trusted: true` in CLUSTERS_FILE may use files and plugins.",
  },
  credentials_invalid: {
    cause: "The stored, encrypted credentials are damaged, or were sealed for another cluster.",
    retryable: false,
    httpStatus: 422,
    remedy:
      "Send the cluster's kubeconfig again (PATCH /clusters/{id}); the stored one is damaged or belongs to another cluster.",
  },
  credentials_key_unknown: {
    cause: "CREDENTIALS_KEYS_DIR does not contain the private key that opens the credentials.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Put the private key that opens the credentials back into CREDENTIALS_KEYS_DIR, or send the kubeconfig again.",
  },
  credentials_keys_missing: {
    cause: "The bridge received credentials but has no key to seal them with.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Set CREDENTIALS_KEYS_DIR to a directory with a private key (`npm run keys -- generate`); without one the bridge accepts no credentials.",
  },
  api_server_refused: {
    cause:
      "The address of the kubeconfig's API server or of prometheus.url, or an address that its name resolves to, is a loopback, link-local, multicast or cloud metadata address.",
    retryable: false,
    httpStatus: 422,
    remedy:
      "Use an address of the API server that is not loopback, link-local, multicast or a cloud's metadata service. If such an address is intended (kind, minikube), allow it with API_SERVER_CIDRS or ALLOW_PRIVATE_API_SERVERS=true.",
  },

  // Storage
  storage_unavailable: {
    cause: "ClickHouse does not answer, or rejects the user.",
    retryable: true,
    httpStatus: 503,
    remedy: "ClickHouse does not answer; check CLICKHOUSE_URL and the server.",
  },
  storage_failed: {
    cause: "ClickHouse rejected a statement.",
    retryable: false,
    httpStatus: 500,
    remedy: "ClickHouse rejected the statement; the log has its error message.",
  },
  storage_damaged: {
    cause:
      "A full or failing disk, or another program, damaged a file of the embedded database: the file is empty, truncated or changed.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Stop the program and move the named file away as docs/operations.md (Damaged data) describes. The program deletes and moves nothing by itself.",
  },
  engine_unavailable: {
    cause: "The embedded ClickHouse engine is not installed or can't run on this machine.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "ROLE=all-in-one needs the optional package chdb (Linux with glibc, or macOS; x64 or arm64). Run `npm ci` without --omit=optional, or use the roles bridge and query with a ClickHouse server.",
  },
  migration_failed: {
    cause: "A statement of a migration failed.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Check the named migration and ClickHouse's error message, fix the cause, and run `migrate` again.",
  },
  migration_conflict: {
    cause:
      "The database has a migration that this version does not know, or a known one with a different text.",
    retryable: false,
    httpStatus: 500,
    remedy: "Another version of this program migrated the database; use that version or a newer one.",
  },
  storage_layout_unknown: {
    cause:
      "A table with one of the program's names has another layout, for example because the Collector created it.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Rename the named tables (RENAME TABLE a TO b) or set CLICKHOUSE_DATABASE to another database, and set create_schema: false in the Collector's clickhouse exporter. Nothing was changed.",
  },
  storage_version_unsupported: {
    cause: "The ClickHouse server is older than the tested minimum.",
    retryable: false,
    httpStatus: 500,
    remedy: "Upgrade the ClickHouse server; docs/clickhouse.md lists the tested versions.",
  },
} as const satisfies Record<string, ErrorKind>;

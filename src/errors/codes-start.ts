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
      "CLUSTERS_FILE can't be read, is not YAML of the described form, or holds a kubeconfig that is refused.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named field of CLUSTERS_FILE.",
  },
  queries_file_invalid: {
    cause: "QUERIES_FILE can't be read, is not of the described form, or holds wrong PromQL.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named entry of QUERIES_FILE.",
  },
  tokens_file_invalid: {
    cause: "API_TOKENS_FILE can't be read or an entry is not of the described form.",
    retryable: false,
    httpStatus: 500,
    remedy: "Correct the named entry of API_TOKENS_FILE.",
  },
  credentials_keys_invalid: {
    cause:
      "CREDENTIALS_KEYS_DIR can't be read or has no key, or one of its keys is damaged, encrypted, too short or not a private RSA key.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "CREDENTIALS_KEYS_DIR must be a directory with private RSA keys of at least 3072 bits, each a PEM file (PKCS #8) whose name ends in .pem: `npm run keys -- generate DIR` makes one.",
  },
  file_descriptors_exhausted: {
    cause:
      "The process, or the whole machine, may not open more files and connections while the program starts.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Raise the limit of open files for this process: `ulimit -n 65536`, LimitNOFILE= of a systemd unit, `docker run --ulimit nofile=65536`. When the whole machine is out of them (ENFILE), raise fs.file-max or find what holds them.",
  },
  state_unavailable: {
    cause:
      "The state store does not work: DATA_DIR is full, read-only or held by another process, or Dapr's state store does not answer.",
    retryable: true,
    httpStatus: 503,
    remedy: "Check that DATA_DIR is writable and not full, and that no other process holds it.",
  },
  state_damaged: {
    cause:
      "The state file is damaged, is not a SQLite database of this program, or comes from a newer version of it.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Stop the program and run the commands of its start's message; docs/operations.md (Damaged data) explains them. Nothing is deleted or moved unasked.",
  },
  state_conflict: {
    cause: "Two writers changed the same state record; the second one was refused.",
    retryable: true,
    httpStatus: 409,
    remedy: "Somebody else changed the same record; the next round reads it again.",
  },
  state_record_damaged: {
    cause:
      "A record of the state store is not what this program writes: it was cut or changed, or another program writes the same keys. Only the cluster that it is about is concerned.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Restore the record from a backup of the state store. A cluster of the API can also be deleted and registered again.",
  },

  // The credentials of a managed cluster
  kubeconfig_invalid: {
    cause: "The kubeconfig is not well-formed or not complete.",
    retryable: false,
    httpStatus: 400,
    remedy:
      "Give a kubeconfig of one cluster with certificate-authority-data and a token or a client certificate inline.",
  },
  kubeconfig_refused: {
    cause:
      "The kubeconfig would run a program, read a file, dial another host, impersonate somebody or skip the check of certificates.",
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
      "Give the cluster's kubeconfig again (PATCH /clusters/{id}); the stored one is damaged or belongs to another cluster.",
  },
  credentials_key_unknown: {
    cause: "The private key that the credentials were sealed with is not in CREDENTIALS_KEYS_DIR.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Put the private key that the credentials were sealed with back into CREDENTIALS_KEYS_DIR, or give the kubeconfig again.",
  },
  credentials_keys_missing: {
    cause: "Credentials were given to a bridge that has no key to seal them with.",
    retryable: false,
    httpStatus: 503,
    remedy:
      "Set CREDENTIALS_KEYS_DIR to a directory with a private key (`npm run keys -- generate`); without one no credentials are taken.",
  },
  api_server_refused: {
    cause:
      "The kubeconfig's API server is, or its name resolves to, an address of this machine, its link, a multicast group or a cloud's metadata service.",
    retryable: false,
    httpStatus: 422,
    remedy:
      "Use an address of the API server that is not this machine's own, link-local or a cloud's metadata service. Where it is meant (kind, minikube), allow it with API_SERVER_CIDRS or ALLOW_PRIVATE_API_SERVERS=true.",
  },

  // Storage
  storage_unavailable: {
    cause: "ClickHouse does not answer, or refuses the user.",
    retryable: true,
    httpStatus: 503,
    remedy: "ClickHouse does not answer; check CLICKHOUSE_URL and the server.",
  },
  storage_failed: {
    cause: "ClickHouse refused a statement.",
    retryable: false,
    httpStatus: 500,
    remedy: "ClickHouse refused the statement; its own words are in the log.",
  },
  storage_damaged: {
    cause:
      "A file of the embedded database is damaged: empty, cut or changed, by a full or failing disk or by another program.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Stop the program and move the named file away as docs/operations.md (Damaged data) describes. Nothing is deleted or moved unasked.",
  },
  engine_unavailable: {
    cause: "The embedded ClickHouse engine is not installed or can't run on this machine.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "ROLE=all-in-one needs the optional package chdb (Linux with glibc, or macOS; x64 or arm64): run `npm ci` without --omit=optional, or use the roles bridge and query with a ClickHouse server.",
  },
  migration_failed: {
    cause: "A statement of a migration failed.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Look at the named migration and ClickHouse's answer; run `migrate` again when the cause is gone.",
  },
  migration_conflict: {
    cause:
      "The database holds a migration that this version does not know, or another text of one that it knows.",
    retryable: false,
    httpStatus: 500,
    remedy: "The database was migrated by another version of this program; use that version or a newer one.",
  },
  storage_layout_unknown: {
    cause:
      "A table has a name of ours and is something else, such as the one that the Collector makes by itself.",
    retryable: false,
    httpStatus: 500,
    remedy:
      "Rename the named tables (RENAME TABLE a TO b) or set CLICKHOUSE_DATABASE to another database, and set create_schema: false in the Collector's clickhouse exporter. Nothing was changed.",
  },
  storage_version_unsupported: {
    cause: "The ClickHouse server is older than the tested minimum.",
    retryable: false,
    httpStatus: 500,
    remedy: "Upgrade the ClickHouse server; docs/clickhouse.md names the versions that were tested.",
  },
} as const satisfies Record<string, ErrorKind>;

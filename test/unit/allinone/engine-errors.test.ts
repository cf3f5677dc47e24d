import { expect, test } from "vitest";
import { toEngineError, toOpeningError } from "#allinone/engine-errors.ts";

const PATH = "/srv/my data/clickhouse";
const PART = "store/c17/c17907c7-601c-4de8-b5b2-e916f541a853/20261129_1_1_1";

test.each([
  [
    "a full disk",
    "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)",
    "storage_unavailable",
    `the disk under ${PATH} is full`,
  ],
  [
    "a full disk in the middle of a write",
    "Code: 75. DB::Exception: Cannot write to file x: , errno: 28, strerror: No space left on device. (CANNOT_WRITE_TO_FILE_DESCRIPTOR)",
    "storage_unavailable",
    `the disk under ${PATH} is full`,
  ],
  [
    "a used-up quota",
    "std::exception. Code: 1001, type: std::filesystem::filesystem_error, e.what() = Disk quota exceeded",
    "storage_unavailable",
    `the disk under ${PATH} is full`,
  ],
  [
    "a damaged file",
    `Code: 40. DB::Exception: Checksum doesn't match: corrupted data: While reading or decompressing ${PATH}/data/${PART}/data.bin (position: 1). (CHECKSUM_DOESNT_MATCH)`,
    "storage_damaged",
    `the embedded database is damaged: clickhouse/data/${PART}/data.bin`,
  ],
  [
    "the same code about another file",
    "Code: 33. DB::Exception: Cannot read all data: (while reading /tmp/other.bin). (CANNOT_READ_ALL_DATA)",
    "storage_failed",
    "ClickHouse refused the statement: code 33 CANNOT_READ_ALL_DATA",
  ],
  [
    "a wrong statement",
    "Code: 60. DB::Exception: Table metrics.t does not exist. (UNKNOWN_TABLE)",
    "storage_failed",
    "ClickHouse refused the statement: code 60 UNKNOWN_TABLE",
  ],
])("a statement's failure: %s", (_what, text, code, message) => {
  const error = toEngineError(new Error(text), PATH);
  expect([error.code, error.message]).toEqual([code, message]);
});

test.each([
  [
    "another process",
    `Code: 76. DB::Exception: Cannot lock file ${PATH}/data/status. Another server instance in same directory is already running. (CANNOT_OPEN_FILE)`,
    "storage_unavailable",
    `another process holds ${PATH}/data`,
    /Only one process/,
  ],
  [
    "a full disk",
    "Code: 75. DB::Exception: Cannot write to file: , errno: 28, strerror: No space left on device.",
    "storage_unavailable",
    `the disk under ${PATH} is full`,
    /Free space/,
  ],
  [
    "too few file descriptors",
    `Code: 76. DB::Exception: Cannot open file ${PATH}/data/${PART}/data.bin: , errno: 24, strerror: Too many open files. (CANNOT_OPEN_FILE)`,
    "file_descriptors_exhausted",
    "the limit of open files (ulimit -n) is too low for the embedded ClickHouse engine",
    /ulimit -n 65536/,
  ],
  [
    "files of another user",
    `Code: 76. DB::Exception: Cannot open file ${PATH}/data/uuid: , errno: 13, strerror: Permission denied.`,
    "storage_unavailable",
    `the embedded ClickHouse engine may not read or write ${PATH}/data`,
    /user that runs the program/,
  ],
  [
    "a damaged part",
    `<Error> t: Part ${PATH}/data/${PART}/ is broken and needs manual correction. Reason: Code: 27. DB::Exception: Cannot parse input. (X)`,
    "storage_damaged",
    `the embedded database is damaged: ${PATH}/data/${PART} (ClickHouse: Cannot parse input)`,
    /begin with an empty database/,
  ],
  [
    "no words at all",
    "",
    "storage_unavailable",
    `the embedded ClickHouse engine can't open ${PATH}/data`,
    /^(?!.*mv ).*gave no reason/s,
  ],
  [
    "words that are not known",
    "Code: 999. DB::Exception: Something new. (NEW)",
    "storage_unavailable",
    `the embedded ClickHouse engine can't open ${PATH}/data (ClickHouse: Something new)`,
    /\n {4}mv '\/srv\/my data\/clickhouse' '\/srv\/my data\/clickhouse\.damaged'/,
  ],
])("a start's failure: %s", (_what, said, code, message, hint) => {
  const error = toOpeningError(said, PATH, new Error("Failed to create connection"));
  expect([error.code, error.message]).toEqual([code, message]);
  expect(error.hint).toMatch(hint);
});

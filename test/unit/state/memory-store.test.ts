import { createMemoryStore } from "../../helpers/memory-store.ts";
import { testStore } from "../../helpers/store-contract.ts";

testStore("memory", () => createMemoryStore());

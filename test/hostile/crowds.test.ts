import { afterEach } from "vitest";
import { CROWDS, endCrowd } from "./crowds.ts";
import { runBehaviours } from "./run-behaviours.ts";

afterEach(endCrowd);
runBehaviours(CROWDS);

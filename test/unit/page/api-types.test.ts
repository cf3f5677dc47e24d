import { expectTypeOf, test } from "vitest";
import type { z } from "zod";
import type { clusterCompletenessAnswer, completenessAnswer } from "#http/completeness-schemas.ts";
import type { labelsAnswer, metricsAnswer, queryAnswer } from "#http/series-schemas.ts";
import type { gpusAnswer } from "#http/gpu-schemas.ts";
import type { LiveEventData, LiveEventName } from "#http/live-schemas.ts";
import type { healthAnswer, nodesAnswer, podsAnswer } from "#http/state-schemas.ts";
import type { collectionStatus } from "#http/status-schemas.ts";
import type { clusterListAnswer, fleetUsageAnswer } from "#http/usage-schemas.ts";
import type { whoamiAnswer } from "#http/routes/whoami.ts";
import type { clusterView } from "#http/cluster-schemas.ts";
import type { foundServices, inspection } from "#http/routes/onboard.ts";
import type { collectAnswer } from "#http/status-schemas.ts";
import type * as page from "#page/api-types.ts";
import type * as changes from "#page/change-types.ts";

// The page imports nothing of the server, so it has types of its own. `npm run check` fails here if an answer is not what the page reads.
test("the page's types are parts of the API's answers", () => {
  expectTypeOf<z.output<typeof collectionStatus>>().toExtend<page.CollectionStatus>();
  expectTypeOf<z.output<typeof completenessAnswer>>().toExtend<page.Completeness>();
  expectTypeOf<z.output<typeof clusterCompletenessAnswer>>().toExtend<page.ReportedCompleteness>();
  expectTypeOf<z.output<typeof clusterListAnswer>>().toExtend<{ clusters: page.ListedCluster[] }>();
  expectTypeOf<z.output<typeof fleetUsageAnswer>>().toExtend<page.FleetUsage>();
  expectTypeOf<z.output<typeof healthAnswer>>().toExtend<page.Health>();
  expectTypeOf<z.output<typeof nodesAnswer>>().toExtend<page.Nodes>();
  expectTypeOf<z.output<typeof podsAnswer>>().toExtend<page.Pods>();
  expectTypeOf<z.output<typeof gpusAnswer>>().toExtend<page.Gpus>();
  expectTypeOf<z.output<typeof queryAnswer>>().toExtend<page.QueryAnswer>();
  expectTypeOf<z.output<typeof metricsAnswer>>().toExtend<page.StoredMetrics>();
  expectTypeOf<z.output<typeof labelsAnswer>>().toExtend<page.Labels>();
  expectTypeOf<LiveEventData[LiveEventName]>().toExtend<page.LiveEvent>();
  expectTypeOf<z.output<typeof inspection>>().toExtend<changes.Inspection>();
  expectTypeOf<z.output<typeof foundServices>>().toExtend<changes.FoundServices>();
  expectTypeOf<z.output<typeof clusterView>>().toExtend<changes.RegisteredCluster>();
  expectTypeOf<z.output<typeof collectAnswer>>().toExtend<changes.CollectAnswer>();
  expectTypeOf<z.output<typeof whoamiAnswer>>().toExtend<page.Whoami>();
});

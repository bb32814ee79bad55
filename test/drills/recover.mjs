/** Opens the journal of a daemon that is gone, recovers it, and says how long that took, in ms. Built code only. */
import { realWorld } from "../../dist/base/world.js";
import { openJournals } from "../../dist/store/folder.js";

const world = realWorld();
const startedAt = world.monotonic();
const { own } = await openJournals({
  ...JSON.parse(process.argv[2]),
  world,
  log: () => undefined,
  mode: "required",
  durability: "full",
  dropsDelivered: false,
});
await own.recover(world.now());
process.stdout.write(String(world.monotonic() - startedAt));
await own.close();

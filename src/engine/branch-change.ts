/**
 * What a new configuration does to an upstream in service: settings hold at once, another target or other
 * credentials mean another connection, another isolation means that its sessions return to it anew.
 *
 * BC1. A call accepted under one set of credentials is never sent under another: it ends as not executed.
 */
import type { EngineContext } from "./context.ts";
import { OTHER_CREDENTIALS } from "./last-look.ts";
import type { Branch } from "./branch.ts";
import type { Line } from "./line.ts";
import { expireWaiting } from "./withdrawal.ts";

/** What an upstream's entry of the configuration decides. */
export type BranchNews = Pick<
  EngineContext,
  "settings" | "identity" | "catalogues" | "newConnector"
>;

const OTHER_ISOLATION =
  "its server's connections were made anew, because the configuration shares them in another way";

/** `isElsewhere`: the connector leads somewhere else, or there in another way. */
export async function changeBranch(
  branch: Branch,
  news: BranchNews,
  isElsewhere: boolean,
  cause: string,
): Promise<void> {
  const { context } = branch;
  const lines = [...branch.lines.all()];
  const isOtherCaller = news.identity.credentials !== context.identity.credentials;
  const isOtherIsolation = news.settings.isolation !== context.settings.isolation;
  const isRenewed = isElsewhere || isOtherCaller;
  // Before anything is accepted under the new identity, so that nothing of it leaves by the old way.
  if (isRenewed || isOtherIsolation) for (const line of lines) line.pause("a renewal");
  Object.assign(context, news);
  context.bounds.change(news.settings.limits);
  context.gate.change(news.settings);
  for (const line of lines) line.cataloguer.reconsider(isOtherCaller);
  if (isOtherCaller) {
    const isOld = isAcceptedElse(news);
    await Promise.all(lines.map((line) => expireWaiting(context, line, OTHER_CREDENTIALS, isOld)));
  }
  if (isOtherIsolation) await regroup(branch, lines);
  else if (isRenewed) await branch.renew(cause);
}

const isAcceptedElse =
  ({ identity }: BranchNews) =>
  ({ row }: { readonly row: { readonly credentials: string } }): boolean =>
    row.credentials !== identity.credentials;

/** Ends the lines and leaves their sessions to their rows; what was promised to run late goes on elsewhere. */
async function regroup(branch: Branch, lines: readonly Line[]): Promise<void> {
  const { context, rescuer } = branch;
  await Promise.all(lines.map((line) => line.settle(context.settings.drainMs)));
  const isUnpromised = ({ row }: { readonly row: { readonly acknowledgedAt?: unknown } }) =>
    row.acknowledgedAt === undefined;
  await Promise.all(
    lines.map((line) => expireWaiting(context, line, OTHER_ISOLATION, isUnpromised)),
  );
  for (const line of lines) if (line.plan.isShared) rescuer.inherit(line, line.plan.session);
  const stays = [...branch.stays()].filter(({ served }) => served && lines.includes(served.line));
  await Promise.all(stays.map((stay) => stay.park()));
  await Promise.all(lines.map((line) => branch.lines.end(line)));
}

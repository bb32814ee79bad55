/**
 * What is different between two configurations of one daemon, server by server. Pure: what is done about
 * it is `serve.ts`'s.
 */
import type { OptionKey, RunPlan } from "./options.ts";
import { optionOf } from "./resolve.ts";
import { isSame, type ServePlan } from "./serve-plan.ts";

export type UpstreamChange =
  | { readonly kind: "added"; readonly plan: RunPlan }
  | { readonly kind: "removed"; readonly name: string }
  | {
      readonly kind: "changed";
      readonly plan: RunPlan;
      /** Another command, environment, URL or header: it has to be connected to anew. */
      readonly isElsewhere: boolean;
    };

export interface Difference {
  /** Removed ones first. */
  readonly upstreams: readonly UpstreamChange[];
  /** Set otherwise in the file, and kept as they are until a restart. */
  readonly unheeded: readonly OptionKey[];
}

export function difference(before: ServePlan, after: ServePlan): Difference {
  const removed = [...before.upstreams.keys()]
    .filter((name) => !after.upstreams.has(name))
    .map((name) => ({ kind: "removed", name }) as const);
  const others = [...after.upstreams.values()].flatMap((plan) => {
    const was = before.upstreams.get(plan.name);
    return was === undefined ? [{ kind: "added", plan } as const] : changeOf(was, plan);
  });
  return { upstreams: [...removed, ...others], unheeded: after.unheeded };
}

function changeOf(was: RunPlan, plan: RunPlan): readonly UpstreamChange[] {
  const isElsewhere =
    !isSame(sorted(was.target), sorted(plan.target)) || !isSame(was.identity, plan.identity);
  const hasOtherSettings =
    !isSame(was.settings, plan.settings) ||
    !isSame([...was.tools], [...plan.tools]) ||
    !isSame([...was.clients], [...plan.clients]) ||
    !isSame(chosen(was), chosen(plan));
  return isElsewhere || hasOtherSettings ? [{ kind: "changed", plan, isElsewhere }] : [];
}

/** Its own options that somebody set: that one was chosen counts, even where it is the default. */
const chosen = ({ given }: RunPlan): readonly OptionKey[] =>
  [...given].filter((key) => optionOf(key).scope === "server").sort();

/** In which order variables and headers stand means nothing. */
function sorted(target: RunPlan["target"]): unknown {
  const byName = (object: Readonly<Record<string, string>>) => Object.entries(object).sort();
  return target.kind === "stdio"
    ? { ...target, env: byName(target.env) }
    : { ...target, headers: byName(target.headers) };
}

/** For the log and for followers: "added 'a', removed 'b'; a change of listen needs a restart". */
export function differenceText(found: Difference): string {
  const { upstreams } = found;
  const words = upstreams.map((change) =>
    change.kind === "removed"
      ? `removed '${change.name}'`
      : change.kind === "added"
        ? `added '${change.plan.name}'`
        : `changed '${change.plan.name}'${change.isElsewhere ? ", which is connected to anew" : ""}`,
  );
  const what = words.length === 0 ? "no server changed" : words.join(", ");
  const rest = unheededText(found);
  return rest === undefined ? what : `${what}; ${rest}`;
}

/** Undefined where all of the file is heeded. */
export function unheededText({ unheeded }: Difference): string | undefined {
  if (unheeded.length === 0) return undefined;
  const keys = unheeded.map((key) => optionOf(key).config).join(", ");
  return `a change of ${keys} needs a restart`;
}

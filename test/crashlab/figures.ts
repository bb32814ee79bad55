/** What the crash lab found, as aligned text for people, and whether it is what it has to be. */
import { MODES } from "./disk.ts";
import type { FaultFigures } from "./faults.ts";
import type { ImageFigures } from "./images.ts";
import { NOTICES } from "./mutations.ts";
import type { MutationFigures } from "./mutations.ts";
import type { ProxyFaultFigures } from "./proxy-faults.ts";
import type { ProxyFigures } from "./proxy-images.ts";
import type { TmpfsFigures } from "./tmpfs.ts";

/** A lane that did not run is absent; `skipped` says why where it could not. */
export interface LabFigures {
  readonly seed: number;
  readonly skipped: readonly string[];
  store?: ImageFigures;
  /** The store told not to wait for the disk: it has to lose something. */
  careless?: ImageFigures;
  proxy?: ProxyFigures;
  faults?: FaultFigures;
  proxyFaults?: ProxyFaultFigures;
  tmpfs?: TmpfsFigures;
  mutations?: MutationFigures;
}

const LABEL_WIDTH = 46;
const NUMBER_WIDTH = 16;
/** So many findings are printed. */
const FINDINGS_MAX = 20;

const line = (label: string, ...numbers: (number | string)[]): string =>
  `${label.padEnd(LABEL_WIDTH)}${numbers.map((each) => String(each).padStart(NUMBER_WIDTH)).join("")}\n`;

const perSecond = ({ images, seconds }: ImageFigures): string =>
  (images / Math.max(seconds, 0.001)).toFixed(0);

export function report(figures: LabFigures): { text: string; isSound: boolean } {
  const findings = findingsOf(figures);
  const lanes = [
    figures.store === undefined ? "" : imagesText("power cuts under the store", figures.store),
    figures.careless === undefined
      ? ""
      : line("… which does not wait for the disk, images", figures.careless.images) +
        line("    of these with acknowledged rows lost", figures.careless.losing),
    proxyText(figures),
    faultsText(figures),
    figures.tmpfs === undefined
      ? ""
      : line("calls accepted until a small disk was full", figures.tmpfs.accepted) +
        line("    results recorded on the full disk", figures.tmpfs.recorded),
    figures.mutations === undefined ? "" : mutationsText(figures.mutations),
    figures.skipped.map((what) => `skipped: ${what}\n`).join(""),
    findings
      .slice(0, FINDINGS_MAX)
      .map((finding) => `FOUND ${finding}\n`)
      .join(""),
  ];
  const summary = line("findings", findings.length);
  const text = `crash lab, seed ${figures.seed}\n${lanes.join("")}${summary}`;
  return { text, isSound: findings.length === 0 };
}

function imagesText(name: string, figures: ImageFigures): string {
  return [
    line(`${name}, images`, figures.images),
    ...MODES.map((mode) => line(`    un-synced writes: ${mode}`, figures.byMode[mode])),
    line("    acknowledged rows lost", figures.lost),
    line("    corrupt", figures.corrupt),
    line("    longest WAL, MiB", (figures.walPeakBytes / 1024 ** 2).toFixed(1)),
    line("    images a second", perSecond(figures)),
  ].join("");
}

function proxyText({ proxy }: LabFigures): string {
  if (proxy === undefined) return "";
  return [
    line("power cuts under the proxy, images", proxy.images),
    line("    of these a real proxy was started on", proxy.restarts),
    line("    acknowledged calls lost", proxy.lost),
    line("    ghosts", proxy.ghosts),
  ].join("");
}

function faultsText({ faults, proxyFaults }: LabFigures): string {
  const points = Object.entries(faults?.points ?? {});
  const total = points.reduce((sum, [, count]) => sum + count, 0);
  return [
    faults === undefined ? "" : line("calls to the disk that failed under the store", total),
    ...points.map(([name, count]) => line(`    ${name}`, count)),
    proxyFaults === undefined ? "" : line("    under the proxy", proxyFaults.points),
  ].join("");
}

function mutationsText({ table, count, missed }: MutationFigures): string {
  return [
    line("damaged files", ...NOTICES),
    ...Object.entries(table).map(([kind, row]) =>
      line(`    ${kind}`, ...NOTICES.map((notice) => row[notice])),
    ),
    line("    all", count),
    line("    missed", missed),
  ].join("");
}

/** Everything that is not as it has to be, in words. */
function findingsOf(figures: LabFigures): string[] {
  const { store, careless, proxy, faults, proxyFaults, tmpfs, mutations } = figures;
  const findings = [
    ...(store?.findings ?? []).map(
      ({ image, lost, corrupt }) => `${image}: ${[...lost, ...corrupt].slice(0, 5).join("; ")}`,
    ),
    ...(proxy?.findings ?? []),
    ...(faults?.findings ?? []),
    ...(proxyFaults?.findings ?? []),
    ...(tmpfs?.findings ?? []),
    ...(mutations?.findings ?? []),
  ];
  if (careless !== undefined && careless.losing === 0)
    findings.push("a store that does not wait for the disk lost nothing: the lab can't fail");
  return findings;
}

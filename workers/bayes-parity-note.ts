/**
 * bayes-parity-note — what stays of a comparison: figures in the record of each node, and what an administrator should hear of.
 */
import { parityJudgementOf, type ParitySummary, unknownParity } from '../rules/bayes-parity.ts';
import type { ParityReport } from './bayes-parity.ts';
import { readRecords, writeRecord } from './bayes-record.ts';
import { type ParityNote, readParityNote } from './bayes-scores.ts';
import type { Call } from './bayes-ssh.ts';
import { isTrouble } from './bayes-step.ts';
import type { Answerer } from './bayes-wire.ts';

/** What is kept of a report: the figures, and what an administrator should hear of; null figures where there is no sample. */
export function outcomeOfParity(
  report: ParityReport,
  node: string,
  at: number,
): { readonly parity: ParitySummary | null; readonly warnings: readonly string[] } {
  switch (report.kind) {
    case 'off':
      return { parity: null, warnings: [] };
    case 'unknown':
      return {
        parity: { at, ...unknownParity(report.messages) },
        warnings: [`${report.message}: ${report.remedy}`],
      };
    case 'compared': {
      const { summary } = report.parity;
      return { parity: { at, ...summary }, warnings: [...report.warnings, ...warningsOf(summary, node)] };
    }
  }
}

function warningsOf(summary: ParitySummary, node: string): string[] {
  const { messages, probabilityDiffers, scoreDiffers, flips, notScored } = summary;
  const details = `see sluice bayes parity`;
  switch (parityJudgementOf(summary)) {
    case 'equal':
      return [];
    case 'differs':
      return [
        `${node} judges otherwise: of ${messages} messages ${probabilityDiffers} have another probability, ` +
          `${scoreDiffers} another score, ${flips} another verdict: ${details}`,
      ];
    case 'unknown':
      return [
        `Whether ${node} judges alike is unknown: ${notScored} of ${messages + notScored} messages have no score on both sides: ${details}`,
      ];
  }
}

/** Answers `parity` on a backup: the figures go to the record of the sync before it, where there is one. */
export function noteAnswer(folder: string): Answerer {
  return async (parameters) => {
    const { host, parity } = readParityNote(parameters);
    const record = (await readRecords(folder)).find(({ node }) => node === host);
    if (record !== undefined) await writeRecord(folder, { ...record, parity: { ...parity } });
    return { head: null };
  };
}

/** Tells a backup what came of the comparison, for its own `status`; a warning where it did not arrive. */
export async function tellParity(call: Call, note: ParityNote): Promise<readonly string[]> {
  const told = await call({ name: 'parity', parameters: note });
  return isTrouble(told) ? [`The backup was not told of the comparison: ${told.message}`] : [];
}

/**
 * bayes-text — what became of a Bayes run, for people.
 */
import type { BayesStatus, BayesTrouble, Exported, Restored, RolledBack } from '../workers/bayes.ts';
import type { Generation, Mark } from '../workers/bayes-store.ts';
import type { Snapshot } from '../workers/bayes-snapshots.ts';
import { localTime, printable, table } from './table.ts';

/** The whole answer, some lines. */
export function bayesText(outcome: BayesStatus | Exported | Restored | RolledBack | BayesTrouble): string {
  switch (outcome.kind) {
    case 'refused':
    case 'failed':
      return `${outcome.kind} at ${outcome.step}: ${printable(outcome.message)}\n  remedy: ${printable(outcome.remedy)}`;
    case 'exported': {
      const { folder, manifest } = outcome.snapshot;
      return [
        `exported: snapshot ${countsOf(manifest)}`,
        `  in ${printable(folder)}`,
        ...warned(outcome.warnings),
      ].join('\n');
    }
    case 'restored':
      return [`restored: snapshot ${countsOf(outcome.current)}`, ...warned(outcome.warnings)].join('\n');
    case 'already':
      return `in place already: snapshot ${countsOf(outcome.current)}`;
    case 'rolledBack':
      return `rolled back: ${markText(outcome.current)} is in place, ${markText(outcome.previous)} is the previous one`;
    case 'status':
      return statusText(outcome);
  }
}

function statusText({ store, place, counts, standing, exported, received, broken }: BayesStatus): string {
  const live =
    counts === null
      ? 'no database, or sa-learn can not read it'
      : `${counts.nspam} spam and ${counts.nham} ham messages learned${counts.tokens === 0 ? '' : `, ${counts.tokens} tokens`}`;
  return [
    `Bayes in ${storeNames[store]}, ${printable(place)}`,
    `  now       ${live}`,
    `  current   ${generationText(standing.current)}`,
    `  previous  ${generationText(standing.previous)}`,
    ...listText('exported', exported),
    ...listText('received', received),
    ...broken.map((one) => `\nbroken: ${printable(one)}`),
  ].join('\n');
}

const storeNames = { files: 'files (DB_File)', postgres: 'PostgreSQL', redis: 'Redis' } as const;

function listText(title: string, snapshots: readonly Snapshot[]): string[] {
  if (snapshots.length === 0) return ['', `No snapshot was ${title}.`];
  const rows = snapshots.map(({ manifest, folder }) => [
    String(manifest.snapshotId),
    localTime(manifest.takenAt),
    String(manifest.nspam),
    String(manifest.nham),
    String(manifest.tokens),
    folder,
  ]);
  return ['', table([title, 'taken', 'spam', 'ham', 'tokens', 'folder'], rows)];
}

function generationText(generation: Generation | null): string {
  return generation === null ? 'none' : markText(generation.mark);
}

function markText(mark: Mark | null): string {
  return mark === null ? 'a database that no restore has brought' : `snapshot ${countsOf(mark)}`;
}

function countsOf({ snapshotId, takenAt, nspam, nham, tokens }: Omit<Mark, 'digest' | 'restoredAt'>): string {
  return `${snapshotId} of ${localTime(takenAt)}: ${nspam} spam, ${nham} ham, ${tokens} tokens`;
}

function warned(warnings: readonly string[]): string[] {
  return warnings.map((warning) => `  warning: ${printable(warning)}`);
}

/**
 * observe — what becomes of decisions in `mode: observe`: every copy is delivered, with the headers it would have had.
 *
 * For the first weeks beside a running mail system: nothing is held, dropped or deferred, a virus neither. What was
 * decided stays in log and history as the disposition; the copies alone are changed here. Pure.
 */
import type { Disposition, Marks, ScanReport } from './mail.ts';

/** The dispositions to carry out: all of them `deliver`; an infected copy says so in its header. */
export function observed(dispositions: readonly Disposition[], report: ScanReport): readonly Disposition[] {
  return dispositions.map((decided) =>
    decided.kind === 'deliver' ? decided : { ...decided, kind: 'deliver', marks: marksOf(decided, report) },
  );
}

function marksOf({ verdict, marks }: Disposition, { virus }: ScanReport): Marks {
  if (verdict !== 'virus' || virus.kind !== 'infected') return marks;
  return { ...marks, virus: { infected: virus.name } };
}

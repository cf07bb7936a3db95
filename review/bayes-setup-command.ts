/**
 * bayes-setup-command — `sluice bayes setup`.
 *
 * To come.
 */
import type { Invocation } from './invocation.ts';

export async function setUpBayes(_: Invocation): Promise<number> {
  return 0;
}
